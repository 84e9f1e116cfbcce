"""The experiments of Super-Convergence (arXiv 1708.07120): Fig. 1a, Tables 1 and 2, Fig. 4b.

Two more experiments, for a CPU, are ours. The settings are those of the author's scripts and
logs: 8 GPUs with 125 images each, which are normalised per GPU.
"""

from __future__ import annotations

from dataclasses import replace

from clr.papers import statements as says
from clr.papers.experiment import KNOWN, Arm, Experiment, claim
from clr.policies import (
    Decay,
    Inv,
    OneCycle,
    OneCycleMomentum,
    Policy,
    RangeRamp,
    Step,
    Triangular,
    hann,
)

_RESNET = {
    "model": "resnet56",
    "batch_size": 1000,
    "ghost_batch": 125,
    "weight_decay": 0.0001,
    "flip": True,
}
_SHORT, _LONG = {"bn_fraction": 0.95}, {"bn_fraction": 0.999}  # for short and for long arms
# each arm is also tested with the running statistics of the other arms
_SHORT_BOTH = _SHORT | {"second_bn_fraction": 0.999}
_LONG_BOTH = _LONG | {"second_bn_fraction": 0.95}


def _two(cycle: int, **differs) -> dict[str, Arm]:
    """Fig. 1a: one cycle, and a step schedule eight times as long, each with its average."""
    return {
        "one cycle": Arm(Triangular(0.1, 3.0, cycle // 2), cycle, differs | _SHORT),
        "step": Arm(Step(0.35, (5 * cycle, 7 * cycle)), 8 * cycle, differs | _LONG),
    }


def _controls(cycle: int) -> dict[str, Policy]:
    """Schedules as long as the cycle that show what it owes to its large rates and its end."""
    return {
        "one cycle, up to 0.35": Triangular(0.1, 0.35, cycle // 2),
        "one cycle, down to 0": Triangular(0.0, 3.0, cycle // 2),
        "step, squeezed": Step(0.35, (cycle * 5 // 8, cycle * 7 // 8)),
        "cosine": Decay(0.0, 0.35, cycle, wave=hann),
    }


def _with_both(cycle: int) -> dict[str, Arm]:
    """Fig. 1a's two arms and the controls; each is tested with both moving averages."""
    one, step = _two(cycle).values()
    return {
        "one cycle": replace(one, settings=_SHORT_BOTH),
        "step": replace(step, settings=_LONG_BOTH),
        **{name: Arm(policy, cycle, _SHORT_BOTH) for name, policy in _controls(cycle).items()},
    }


def _one_and_1cycle(cycle: int, averages: dict) -> dict[str, Arm]:
    """The cycle with batches normalised as a whole, and the author's later 1cycle."""
    one, up = _two(cycle)["one cycle"], cycle * 45 // 100
    author, momentum = OneCycle(0.1, 3.0, up), OneCycleMomentum(0.85, 0.95, up)
    return {
        "one cycle, whole batches": replace(one, settings=averages | {"ghost_batch": None}),
        "1cycle": Arm(author, cycle, averages | {"momentum_policy": momentum}),
    }


def _small(cycle: int, long: int) -> dict[str, Arm]:
    """The arms of `superconvergence_small`, whose moving averages are arms of their own.

    `long`: planned seeds of the long arms, and of the controls that are planned with them.
    """
    one, step = _two(cycle).values()
    whole, author = (
        replace(arm, seeds=long) for arm in _one_and_1cycle(cycle, _SHORT).values()
    )
    return {
        "one cycle": one,
        "step": replace(step, seeds=long),
        "one cycle, the step's statistics": replace(one, settings=_LONG, seeds=long),
        "step, the cycle's statistics": replace(step, settings=_SHORT, seeds=long),
        "one cycle, whole batches": whole,
        **{name: Arm(policy, cycle, _SHORT) for name, policy in _controls(cycle).items()},
        "1cycle": author,
    }


_SUPER = claim("one cycle better than step", "SC Fig. 1a", says.SUPER)
_AS_LONG = (
    claim("one cycle better than one cycle, up to 0.35"),
    claim("one cycle, down to 0 better than one cycle"),
    claim("one cycle, down to 0 better than cosine"),
    claim("one cycle better than step, squeezed"),
    claim("one cycle better than cosine"),
)
_LATER = (
    claim("one cycle as good as one cycle, whole batches"),
    claim("one cycle as good as 1cycle"),
)
_SAME_STATISTICS = (  # as Fig. 1a, with both arms tested with the same moving average
    claim("one cycle better than step", other_second=True),
    claim("one cycle better than step", second=True),
    claim("one cycle as good as one cycle", other_second=True),
    claim("step as good as step", other_second=True),
)

SUPERCONVERGENCE = Experiment(
    name="superconvergence",
    about="""Super-Convergence Fig. 1a: one cycle against a step schedule eight times as long.

    The settings are those of the author's scripts and logs: 1,000 images per iteration,
    normalised in groups of 125, and a different moving average for each of the two arms. Each
    arm is also tested with the other arm's average. The controls are batches normalised as a
    whole, a cycle without large rates, a cycle that ends at zero, schedules that decay within
    the cycle's length, and the author's later 1cycle.
    """,
    paper="SC",
    dataset="cifar10",
    seeds=5,
    epoch=50,
    settings=_RESNET,
    arms=_with_both(10_000) | _one_and_1cycle(10_000, _SHORT_BOTH),
    claims=(_SUPER, *_SAME_STATISTICS, *_AS_LONG, *_LATER),
)

SUPERCONVERGENCE_SHORT = Experiment(
    name="superconvergence_short",
    about="""Fig. 1a for a CPU, with a network of Fig. 4b and the author's shortest stepsize.

    ResNet-20, 1,000 images per iteration in groups of 125, and a cycle of 2,000 iterations (40
    epochs), whose stepsize of 1,000 is the shortest in the author's script (all of his logs
    have longer ones). The step schedule is eight times as long. Rates, decay, drops and moving
    averages are those of Fig. 1a (for this stepsize his script has a faster average, 0.80), and
    each arm is also tested with the other arm's moving average. The controls train as long as
    the cycle. Their rates are not tuned for this length, and those that do not rise have no
    warm-up. Images are shuffled with the seed. Seed 0 of all six arms is planned first, then
    the other seeds of the short arms, then those of the step schedule.
    """,
    paper="SC",
    dataset="cifar10",
    seeds=3,
    epoch=50,
    breaks=(
        "ResNet-20; Fig. 1a has ResNet-56, and Fig. 4b has ResNet-20",
        "40 epochs for the cycle and 320 for the steps; the paper has 200 and 1,600",
    ),
    settings=_RESNET | {"model": "resnet20", "test_every": 200},
    arms=_with_both(2000),
    claims=(
        replace(_SUPER, primary=True),
        *_SAME_STATISTICS,
        *(replace(each, primary=True) for each in _AS_LONG),
    ),
)

_RAMP = _SHORT | {"test_every": 100}
_VARIANTS = {
    **{f"{n:,} images": {"train_images": n} for n in (40_000, 30_000, 20_000, 10_000)},
    "resnet20": {"model": "resnet20"},
    "resnet110": {"model": "resnet110", "batch_size": 800, "ghost_batch": 100},
}

SUPERCONVERGENCE_MORE = Experiment(
    name="superconvergence_more",
    about="""What else Super-Convergence shows of these networks; moving averages as in Fig. 1a.

    Range tests up to a rate of 3 (Fig. 2b), then both arms of Fig. 1a: with only the
    first n training images (Table 1; it is not known which images the paper left out), and with
    ResNet-20 and ResNet-110 (Fig. 4b; the author's ResNet-110 had 100 images on each GPU).
    """,
    paper="SC",
    dataset="cifar10",
    seeds=5,
    epoch=50,
    settings=_RESNET,
    arms={
        **{f"range ramp, {n:,}": Arm(RangeRamp(0.0, 3.0, n), n, _RAMP) for n in (5000, 20_000)},
        **{
            f"{name}, {variant}": arm
            for variant, differs in _VARIANTS.items()
            for name, arm in _two(10_000, **differs).items()
        },
    },
    claims=tuple(
        claim(
            f"one cycle, {variant} better than step, {variant}",
            *(
                ("SC Table 1", says.FEWER_IMAGES)
                if "train_images" in differs
                else ("SC Fig. 4b", says.DEPTH)
            ),
        )
        for variant, differs in _VARIANTS.items()
    ),
)

SUPERCONVERGENCE_SMALL = Experiment(
    name="superconvergence_small",
    about="""The arms of Fig. 1a for a CPU: a protocol of ours.

    ResNet-8, the smallest of the family, 250 images per iteration (normalised 125 at a time),
    a cycle of 600 iterations, 3 epochs. Rates, decay and moving averages are the paper's. There
    is also a range test up to the cycle's highest rate, as long as the cycle. At first three
    seeds were planned for all arms. They left the claims about cycles and schedules of equal
    length undecided, so five seeds were planned for these arms.
    """,
    paper="SC",
    dataset="cifar10",
    seeds=5,
    epoch=200,
    breaks=(
        "ResNet-8; the paper has ResNet-56",
        "3 epochs for the cycle and 24 for the steps; the paper has 200 and 1,600",
        "250 images per iteration; the paper has 1,000",
    ),
    settings=_RESNET | {"model": "resnet8", "batch_size": 250, "test_every": 100},
    arms=_small(600, long=3)
    | {"range ramp": Arm(RangeRamp(0.0, 3.0, 600), 600, _SHORT | {"test_every": 20}, 3)},
    claims=(
        _SUPER,
        claim("one cycle better than step, the cycle's statistics"),
        claim("one cycle as good as one cycle, the step's statistics"),
        _LATER[0],
        *(replace(each, written=KNOWN) for each in _AS_LONG[:3]),
        *_AS_LONG[3:],
        _LATER[1],
    ),
    second_look=("one cycle", *_controls(600)),
)

_EPOCH = 60_000 / 512  # of MNIST, in iterations


def _one_cycle(epochs: int, stepsize: float, low: float = 0.01) -> Arm:
    """1cycle with its momentum, length and stepsize in epochs."""
    up = round(stepsize * _EPOCH)
    momentum = OneCycleMomentum(0.8, 0.95, up)
    return Arm(
        OneCycle(low, 10 * low, up), round(epochs * _EPOCH), {"momentum_policy": momentum}
    )


_FINE = {"margin": 0.0005}  # MNIST's accuracies differ by hundredths of a point
_ON_MNIST = {
    "dataset": "mnist",
    "seeds": 4,
    "epoch": round(_EPOCH),
    "settings": {
        "model": "lenet",
        "batch_size": 512,
        "weight_decay": 0.0005,
        "test_every": 100,
        "subtract_mean": False,
        "shuffle": False,
    },
}

MNIST = Experiment(
    name="mnist",
    about="""Super-Convergence Table 2, MNIST: Caffe's LeNet, 512 images per iteration.

    inv and step for 85 epochs are Caffe's own examples (10,000 iterations). 1cycle, with its
    momentum cycle, runs for the number of epochs in the arm's name. Its stepsize (in epochs) is
    the paper's or, for lengths that are not in the paper, 0.45 of the run. There are four
    seeds, as in the paper.
    """,
    paper="SC",
    **_ON_MNIST,
    arms={
        "inv": Arm(Inv(0.01, 0.0001, 0.75), 10_000),
        "step": Arm(Step(0.01, (5000, 7000, 8000, 9000, 9500), 0.9), 10_000),
        "1cycle, 85 epochs": _one_cycle(85, 40, 0.02),
        **{
            f"1cycle, {n} epochs": _one_cycle(n, up)
            for n, up in ((50, 23), (25, 12), (12, 5), (6, 2.7), (3, 1.35))
        },
        "1cycle, 1 epoch": _one_cycle(1, 0.45),
    },
    claims=(
        *(
            claim(f"1cycle, {n} epochs better than inv", "SC Table 2", says.MNIST, **_FINE)
            for n in (85, 50, 25, 12)
        ),
        claim("1cycle, 12 epochs better than step", "SC Table 2", says.MNIST, **_FINE),
        claim("step as good as inv", "SC Table 2", **_FINE),
        claim("1cycle, 6 epochs not worse than inv", **_FINE),
        claim("1cycle, 3 epochs not worse than inv", **_FINE),
        claim("1cycle, 1 epoch not worse than inv", **_FINE),
    ),
)


def _changed(**differs) -> Arm:
    """1cycle for 12 epochs, with one change of its settings."""
    once = MNIST.arms["1cycle, 12 epochs"]
    return replace(once, settings={**once.settings, **differs})


_UP = MNIST.arms["1cycle, 12 epochs"].policy.stepsize
_CHANGES = {
    "Nesterov": _changed(optimizer="nesterov"),
    "momentum down to 0.85": _changed(momentum_policy=OneCycleMomentum(0.85, 0.95, _UP)),
    "momentum 0.9": _changed(momentum_policy=None),
    "shuffled": _changed(shuffle=True),
    "msra first weights": _changed(model="lenet_msra"),
}

MNIST_CHANGES = Experiment(
    name="mnist_changes",
    about="""What explains that 1cycle stays below Table 2 on MNIST? One change per arm.

    In `mnist`, inv and step agree with the paper to 0.02 points and 1cycle is 0.15 to 0.18
    points below it. The author's later runs used Nesterov, alternating first weights and a
    batch size that differed a little. It is not known which of these the table's runs had.

    The last two arms ask another question: one of the first two runs of 1cycle for 85 epochs
    diverged, soon after its highest rate. Do runs with half its rates, those of the shorter
    cycles, diverge, too?
    """,
    paper="ours",
    **_ON_MNIST,
    arms={
        "1cycle, 12 epochs": MNIST.arms["1cycle, 12 epochs"],
        **_CHANGES,
        "1cycle, 85 epochs": MNIST.arms["1cycle, 85 epochs"],
        "1cycle, 85 epochs, half the rates": _one_cycle(85, 40),
    },
    claims=tuple(
        claim(f"{change} better than 1cycle, 12 epochs", written=KNOWN, **_FINE)
        for change in _CHANGES
    ),
)

MNIST_ENDS = Experiment(
    name="mnist_ends",
    about="""Is it the cycle, or the small last rate, that brings 1cycle ahead of inv on MNIST?

    In `mnist`, 1cycle ends at nearly 0, and inv and step end at 0.006. Here a rate that falls
    once, linearly to 0, has the length of 1cycle with 25 epochs, its highest rate and, within
    one percent, its mean rate. Its momentum is 0.9, as that of inv. The results of the other
    two arms were known when this was planned.
    """,
    paper="ours",
    **_ON_MNIST,
    arms={
        "inv": MNIST.arms["inv"],
        "1cycle, 25 epochs": MNIST.arms["1cycle, 25 epochs"],
        "falls once, 25 epochs": Arm(Decay(0.0, 0.1, round(25 * _EPOCH)), round(25 * _EPOCH)),
    },
    claims=(
        claim("falls once, 25 epochs better than inv", written=KNOWN, **_FINE),
        claim("1cycle, 25 epochs better than falls once, 25 epochs", written=KNOWN, **_FINE),
    ),
)

_HALF = 0.00075  # half of the 0.15 points that 1cycle stays below Table 2

MNIST_AGAIN = Experiment(
    name="mnist_again",
    about="""One more planned look at 1cycle with 12 epochs on MNIST.

    With four seeds in file order, 1cycle was 0.06 points above inv and step, with intervals
    that allowed both answers, and a constant momentum of 0.9 was 0.09 points better than the
    momentum cycle. Does that explain half of the 0.15 points by which 1cycle stays below Table
    2? Half of it is the margin of this claim: "better" means that there is a gain, and "gain
    below the margin" that it is less than half. With a constant momentum of 0.9, the largest
    value of rate / (1 - momentum) is twice as high, so a gain can also come from larger steps.
    These runs have fresh seeds and shuffled batches; the old ones are not counted.
    """,
    paper="SC",
    **_ON_MNIST
    | {
        "seeds": 8,
        "first_seed": 4,
        "settings": _ON_MNIST["settings"] | {"shuffle": True},
        "breaks": ("images in random order",),
    },
    arms={
        **{arm: MNIST.arms[arm] for arm in ("inv", "step", "1cycle, 12 epochs")},
        "momentum 0.9": _CHANGES["momentum 0.9"],
    },
    claims=(
        *(
            claim(
                f"1cycle, 12 epochs better than {other}",
                "SC Table 2",
                says.MNIST,
                primary=True,
                **_FINE,
            )
            for other in ("inv", "step")
        ),
        claim("momentum 0.9 better than 1cycle, 12 epochs", margin=_HALF, primary=True),
    ),
)
