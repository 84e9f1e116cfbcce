"""The experiments of Super-Convergence (arXiv 1708.07120): Fig. 1a, Tables 1 and 2, Fig. 4b.

One more experiment, for a CPU, is ours. The settings are those of the author's scripts and
logs: 8 GPUs with 125 images each, which are normalised per GPU.
"""

from __future__ import annotations

from clr.papers.experiment import Arm, Claim, Experiment
from clr.papers.statements import Statement
from clr.policies import (
    Decay,
    Inv,
    OneCycle,
    OneCycleMomentum,
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


def _two(cycle: int, **differs) -> dict[str, Arm]:
    """Fig. 1a: one cycle, and a step schedule eight times as long, each with its average."""
    return {
        "one cycle": Arm(Triangular(0.1, 3.0, cycle // 2), cycle, differs | _SHORT),
        "step": Arm(Step(0.35, (5 * cycle, 7 * cycle)), 8 * cycle, differs | _LONG),
    }


def _figure1a(cycle: int, *, long: int | None = None) -> dict[str, Arm]:
    """One cycle of `cycle` iterations, a step schedule eight times as long, and controls.

    `long`: planned seeds of the long arms, and of the controls that are planned with them.
    """
    one, step = (arm.policy for arm in _two(cycle).values())
    up = cycle * 45 // 100
    author, momentum = OneCycle(0.1, 3.0, up), OneCycleMomentum(0.85, 0.95, up)
    squeezed = Step(0.35, (cycle * 5 // 8, cycle * 7 // 8))
    return {
        "one cycle": Arm(one, cycle, _SHORT),
        "step": Arm(step, 8 * cycle, _LONG, long),
        "one cycle, the step's statistics": Arm(one, cycle, _LONG, long),
        "step, the cycle's statistics": Arm(step, 8 * cycle, _SHORT, long),
        "one cycle, whole batches": Arm(one, cycle, _SHORT | {"ghost_batch": None}, long),
        "one cycle, up to 0.35": Arm(Triangular(0.1, 0.35, cycle // 2), cycle, _SHORT),
        "one cycle, down to 0": Arm(Triangular(0.0, 3.0, cycle // 2), cycle, _SHORT),
        "step, squeezed": Arm(squeezed, cycle, _SHORT),
        "cosine": Arm(Decay(0.0, 0.35, cycle, wave=hann), cycle, _SHORT),
        "1cycle": Arm(author, cycle, _SHORT | {"momentum_policy": momentum}, long),
    }


_FIGURE1A = (
    Claim("SC Fig. 1a", "one cycle", "better than", "step", statement=Statement.SUPER),
    Claim("control", "one cycle", "better than", "step, the cycle's statistics"),
    Claim("control", "one cycle", "as good as", "one cycle, the step's statistics"),
    Claim("control", "one cycle", "as good as", "one cycle, whole batches"),
    Claim("control", "one cycle", "better than", "one cycle, up to 0.35"),
    Claim("control", "one cycle, down to 0", "better than", "one cycle"),
    Claim("control", "one cycle, down to 0", "better than", "cosine"),
    Claim("control", "one cycle", "better than", "step, squeezed"),
    Claim("control", "one cycle", "better than", "cosine"),
    Claim("control", "one cycle", "as good as", "1cycle"),
)

SUPERCONVERGENCE = Experiment(
    name="superconvergence",
    about="""Super-Convergence Fig. 1a: one cycle against a step schedule eight times as long.

    The settings are those of the author's scripts and logs: 1,000 images per iteration,
    normalised in groups of 125, and a different moving average for each of the two arms. The
    controls are the two arms with the moving averages exchanged, batches normalised as a whole,
    a cycle without large rates, a cycle that ends at zero, schedules that decay within the
    cycle's length, and the author's later 1cycle.
    """,
    paper="SC",
    dataset="cifar10",
    seeds=5,
    epoch=50,
    settings=_RESNET,
    arms=_figure1a(10_000),
    claims=_FIGURE1A,
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
        Claim(
            "SC Table 1" if "train_images" in differs else "SC Fig. 4b",
            f"one cycle, {variant}",
            "better than",
            f"step, {variant}",
            statement=(
                Statement.FEWER_IMAGES if "train_images" in differs else Statement.DEPTH
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
    arms=_figure1a(600, long=3)
    | {"range ramp": Arm(RangeRamp(0.0, 3.0, 600), 600, _SHORT | {"test_every": 20}, 3)},
    claims=_FIGURE1A,
    second_look=(
        "one cycle",
        "one cycle, up to 0.35",
        "one cycle, down to 0",
        "step, squeezed",
        "cosine",
    ),
)

_EPOCH = 60_000 / 512  # of MNIST, in iterations


def _one_cycle(epochs: int, stepsize: float, low: float = 0.01) -> Arm:
    """1cycle with its momentum, length and stepsize in epochs."""
    up = round(stepsize * _EPOCH)
    momentum = OneCycleMomentum(0.8, 0.95, up)
    return Arm(
        OneCycle(low, 10 * low, up), round(epochs * _EPOCH), {"momentum_policy": momentum}
    )


_MARGIN = 0.0005  # MNIST's accuracies differ by hundredths of a point
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
        "1cycle, 50 epochs": _one_cycle(50, 23),
        "1cycle, 25 epochs": _one_cycle(25, 12),
        "1cycle, 12 epochs": _one_cycle(12, 5),
        "1cycle, 6 epochs": _one_cycle(6, 2.7),
        "1cycle, 3 epochs": _one_cycle(3, 1.35),
        "1cycle, 1 epoch": _one_cycle(1, 0.45),
    },
    claims=(
        *(
            Claim(
                "SC Table 2",
                f"1cycle, {n} epochs",
                "better than",
                "inv",
                margin=_MARGIN,
                statement=Statement.MNIST,
            )
            for n in (85, 50, 25, 12)
        ),
        Claim(
            "SC Table 2",
            "1cycle, 12 epochs",
            "better than",
            "step",
            margin=_MARGIN,
            statement=Statement.MNIST,
        ),
        Claim("SC Table 2", "step", "as good as", "inv", margin=_MARGIN),
        Claim("control", "1cycle, 6 epochs", "not worse than", "inv", margin=_MARGIN),
        Claim("control", "1cycle, 3 epochs", "not worse than", "inv", margin=_MARGIN),
        Claim("control", "1cycle, 1 epoch", "not worse than", "inv", margin=_MARGIN),
    ),
)


def _changed(**differs) -> Arm:
    """1cycle for 12 epochs, with one change of its settings."""
    once = MNIST.arms["1cycle, 12 epochs"]
    return Arm(once.policy, once.iterations, {**once.settings, **differs})


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
        Claim("control", change, "better than", "1cycle, 12 epochs", margin=_MARGIN)
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
        Claim("control", "falls once, 25 epochs", "better than", "inv", margin=_MARGIN),
        Claim(
            "control",
            "1cycle, 25 epochs",
            "better than",
            "falls once, 25 epochs",
            margin=_MARGIN,
        ),
    ),
)
