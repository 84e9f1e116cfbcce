"""The experiments by name: which runs make them up. `python -m clr sweep` trains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clr import checks
from clr.policies import (
    Decay,
    Exp,
    ExpRange,
    ExpRangeAmplitude,
    Fixed,
    Inv,
    OneCycle,
    OneCycleMomentum,
    RangeRamp,
    Stages,
    Step,
    Triangular,
    Triangular2,
    hann,
    triangle,
    welch,
)
from clr.training import RunConfig

Runs = dict[str, list[RunConfig]]  # by label, a config a seed


def replicate(config: RunConfig, seeds: int) -> list[RunConfig]:
    """The config with seeds 0 to `seeds` - 1."""
    return [replace(config, seed=seed) for seed in range(checks.whole("seeds", seeds))]


def _runs(arms: dict, seeds: int, **common) -> Runs:
    """`arms` holds (policy, iterations, what differs) by label."""
    return {
        label: replicate(RunConfig(policy, iterations, **(common | differs)), seeds)
        for label, (policy, iterations, differs) in arms.items()
    }


def _table1(dataset: str, seeds: int, shorter: int) -> Runs:
    """Every arm of `table1`, all its iteration numbers divided by `shorter`."""
    k, gamma = shorter, 0.99994**shorter
    bounds = 0.001, 0.006, 2000 // k

    def staged(wave=triangle):
        """Table 2: bounds divided by 10 at 16,000 and at 22,000."""
        stages = (0.001, 2000, 16_000), (0.0001, 1000, 6000), (0.00001, 500, 3000)
        return Stages(
            tuple(
                (Triangular2(lr, 5 * lr, stepsize // k, wave=wave), length // k)
                for lr, stepsize, length in stages
            )
        )

    arms = {
        "fixed": (Step(0.001, (60_000 // k, 65_000 // k)), 70_000 // k, {}),
        "triangular2": (staged(), 25_000 // k, {}),
        "decay": (Decay(0.001, 0.007, 4000 // k), 25_000 // k, {}),
        "exp": (Exp(0.001, gamma), 70_000 // k, {}),
        "exp_range": (ExpRange(*bounds, gamma), 42_000 // k, {}),
        "exp_range, stepsize 3,000": (
            ExpRange(0.001, 0.006, 3000 // k, gamma),
            42_000 // k,
            {},
        ),
        "triangular": (Triangular(*bounds), 24_000 // k, {"test_every": min(500, 2000 // k)}),
        "triangular2, one stage": (Triangular2(*bounds), 24_000 // k, {}),
        "exp_range, amplitude only": (ExpRangeAmplitude(*bounds, gamma), 42_000 // k, {}),
        "cosine": (Decay(0.0, 0.005, 25_000 // k, wave=hann), 25_000 // k, {}),
        "step": (Step(0.001, (21_400 // k, 23_200 // k)), 25_000 // k, {}),
        "triangular2, Welch": (staged(welch), 25_000 // k, {}),
        "triangular2, Hann": (staged(hann), 25_000 // k, {}),
        "triangular2, PyTorch's SGD": (staged(), 25_000 // k, {"optimizer": "torch_sgd"}),
    }
    every = 500 if shorter == 1 else 250
    return _runs(arms, seeds, dataset=dataset, shuffle=False, test_every=every)


def table1(dataset: str, seeds: int) -> Runs:
    """CLR Table 1, CIFAR-10, with Caffe's cifar10_full, its solver and its file order.

    The first five are the table's rows; "triangular2" is the three stages of Table 2. The
    paper gives no bounds for exp and exp_range: those of its text are taken, and the gamma
    it gives. It gives no stepsize for exp_range either. With 2,000, as in its text, 42,000
    iterations end at the top of a cycle; the second exp_range, with 3,000, ends at the end of
    one. It and the arms after it are planned with three seeds, the others with five. Then
    what the text says otherwise (one pair of bounds, section 4.1.1), PyTorch's reading of
    exp_range, and controls that the paper lacks: the cosine falls from Table 2's max_lr,
    "step" is "fixed" squeezed to 25,000 iterations.
    """
    return _table1(dataset, seeds, 1)


def tenth(dataset: str, seeds: int) -> Runs:
    """Seven arms of `table1`, each ten times shorter: iterations, drops, stages, stepsizes.

    A protocol of our own, to see what is left of the claim when training is that short.
    """
    every = _table1(dataset, seeds, 10)
    arms = "fixed", "triangular2", "decay", "triangular", "triangular2, one stage", "step"
    return {arm: every[arm] for arm in (*arms, "cosine")}


def laptop(dataset: str, seeds: int) -> Runs:
    """Two cycles with the paper's bounds against a fixed rate for three times as long.

    A protocol of our own, for a CPU: 4,000 iterations (8 epochs), stepsize 1,000 (2 epochs,
    the shortest the paper advises), no drops. Network, solver, batch and order are the paper's.
    """
    low, high, n = 0.001, 0.006, 4000
    bounds, gamma = (low, high, 1000), 0.99994
    arms = {
        "fixed": (Fixed(low), 3 * n, {}),
        "fixed at the mean": (Fixed((low + high) / 2), n, {}),
        "triangular": (Triangular(*bounds), n, {}),
        "triangular2": (Triangular2(*bounds), n, {}),
        "exp_range": (ExpRange(*bounds, gamma), n, {}),
        "exp_range, amplitude only": (ExpRangeAmplitude(*bounds, gamma), n, {}),
        "decay": (Decay(low, 0.007, n), n, {}),
        "cosine": (Decay(0.0, high, n, wave=hann), n, {}),
        "step": (Step(high, (n // 2, 3 * n // 4)), n, {}),
        "triangular, Welch": (Triangular(*bounds, wave=welch), n, {}),
        "triangular, Hann": (Triangular(*bounds, wave=hann), n, {}),
        "triangular, PyTorch's SGD": (Triangular(*bounds), n, {"optimizer": "torch_sgd"}),
    }
    return _runs(arms, seeds, dataset=dataset, shuffle=False)


def range_test(dataset: str, seeds: int) -> Runs:
    """CLR Fig. 3, the LR range test of cifar10_full: 8 epochs, the rate rising from 0.

    The paper does not give the end of the ramp; 0.02 is more than three times its max_lr.
    """
    arms = {"range ramp": (RangeRamp(0.0, 0.02, 4000), 4000, {})}
    return _runs(arms, seeds, dataset=dataset, shuffle=False, test_every=50)


def subset(dataset: str, seeds: int) -> Runs:
    """20 epochs of 8,000 images, triangular with the paper's bounds and stepsize in epochs.

    Meant for the same images without and with a JPEG's losses, as two image folders.
    """
    arms = {"triangular": (Triangular(0.001, 0.006, 200), 1600, {})}
    return _runs(arms, seeds, dataset=dataset, test_every=200)


def stepsize(dataset: str, seeds: int) -> Runs:
    """How long half a cycle should be (CLR 3.2): 2,560 iterations in 16 cycles, or 8, 4, 2, 1.

    Triangular with the paper's bounds. Meant for 8,000 images, whose epoch is 80 iterations: 1,
    2, 4, 8 and 16 epochs, where the paper advises 2 to 10.
    """
    arms = {
        f"stepsize {n}": (Triangular(0.001, 0.006, n), 2560, {})
        for n in (80, 160, 320, 640, 1280)
    }
    return _runs(arms, seeds, dataset=dataset, test_every=80)


# Super-Convergence's network and batches: 8 GPUs with 125 images each, normalised by themselves
_RESNET = {
    "model": "resnet56",
    "batch_size": 1000,
    "ghost_batch": 125,
    "weight_decay": 0.0001,
    "flip": True,
}


def _two(cycle: int, **differs) -> dict[str, tuple]:
    """Fig. 1a: one cycle, and a step schedule eight times as long; each its moving average."""
    fast, slow = differs | {"bn_fraction": 0.95}, differs | {"bn_fraction": 0.999}
    return {
        "one cycle": (Triangular(0.1, 3.0, cycle // 2), cycle, fast),
        "step": (Step(0.35, (5 * cycle, 7 * cycle)), 8 * cycle, slow),
    }


def _superconvergence(dataset: str, seeds: int, cycle: int, **common) -> Runs:
    """One cycle of `cycle` iterations, a step schedule eight times as long, and controls."""
    author = OneCycle(0.1, 3.0, cycle * 45 // 100)
    momentum = OneCycleMomentum(0.85, 0.95, cycle * 45 // 100)
    both = _two(cycle)
    (one, _, short), (step, _, long) = both.values()
    arms = both | {
        "one cycle, the step's statistics": (one, cycle, long),
        "step, the cycle's statistics": (step, 8 * cycle, short),
        "one cycle, whole batches": (one, cycle, short | {"ghost_batch": None}),
        "one cycle, up to 0.35": (Triangular(0.1, 0.35, cycle // 2), cycle, short),
        "one cycle, down to 0": (Triangular(0.0, 3.0, cycle // 2), cycle, short),
        "step, squeezed": (Step(0.35, (cycle * 5 // 8, cycle * 7 // 8)), cycle, short),
        "cosine": (Decay(0.0, 0.35, cycle, wave=hann), cycle, short),
        "1cycle": (author, cycle, short | {"momentum_policy": momentum}),
    }
    return _runs(arms, seeds, dataset=dataset, **(_RESNET | common))


def superconvergence(dataset: str, seeds: int) -> Runs:
    """Super-Convergence Fig. 1a: one cycle against a step schedule eight times as long.

    The settings of the author's scripts and logs: 1,000 images an iteration normalised 125
    at a time, and another moving average for the two arms. Then the controls: the two arms
    with each other's moving average, batches normalised whole, a cycle without large rates and
    one that ends at zero, schedules that decay within the cycle's length, and the author's
    later 1cycle.
    """
    return _superconvergence(dataset, seeds, 10_000)


def superconvergence_more(dataset: str, seeds: int) -> Runs:
    """What else Super-Convergence shows of these networks; moving averages as in Fig. 1a.

    Range tests up to a rate of 3 (Fig. 2b), then both arms of Fig. 1a: with the first so many
    training images (Table 1; which ones the paper left out is not known), and with ResNet-20
    and ResNet-110 (Fig. 4b; the author's ResNet-110 had 100 images on each GPU).
    """
    ramp = {"bn_fraction": 0.95, "test_every": 100}
    variants = {f"{n:,} images": {"train_images": n} for n in range(40_000, 0, -10_000)}
    variants["resnet20"] = {"model": "resnet20"}
    variants["resnet110"] = {"model": "resnet110", "batch_size": 800, "ghost_batch": 100}
    arms = {f"range ramp, {n:,}": (RangeRamp(0.0, 3.0, n), n, ramp) for n in (5000, 20_000)}
    arms |= {
        f"{arm}, {variant}": values
        for variant, differs in variants.items()
        for arm, values in _two(10_000, **differs).items()
    }
    return _runs(arms, seeds, dataset=dataset, **_RESNET)


def superconvergence_small(dataset: str, seeds: int) -> Runs:
    """The arms of `superconvergence` for a CPU: a protocol of our own.

    ResNet-8, the smallest of the family, 250 images an iteration (normalised 125 at a time),
    a cycle of 600 iterations, 3 epochs. Rates, decay and moving averages are the paper's. And
    a range test up to the cycle's highest rate, as long as the cycle. Meant for three seeds;
    when these left cycles and schedules of one length undecided, five were set for them.
    """
    common = {"model": "resnet8", "batch_size": 250, "test_every": 100}
    ramp = {"bn_fraction": 0.95, "test_every": 20}
    arms = {"range ramp": (RangeRamp(0.0, 3.0, 600), 600, ramp)}
    tested = _runs(arms, seeds, dataset=dataset, **(_RESNET | common))
    return _superconvergence(dataset, seeds, 600, **common) | tested


def mnist(dataset: str, seeds: int) -> Runs:
    """Super-Convergence Table 2, MNIST: Caffe's LeNet, 512 images an iteration.

    inv and step for 85 epochs are Caffe's own examples (10,000 iterations); 1cycle with its
    momentum cycle for as many epochs as the arm is called, with the paper's stepsize (in
    epochs) or, for the lengths that the paper has not, 0.45 of the run. Meant for four seeds,
    as the paper has.
    """
    epoch = 60_000 / 512

    def cycle(epochs, stepsize, low=0.01):
        up = round(stepsize * epoch)
        rate, momentum = OneCycle(low, 10 * low, up), OneCycleMomentum(0.8, 0.95, up)
        return rate, round(epochs * epoch), {"momentum_policy": momentum}

    drops = (5000, 7000, 8000, 9000, 9500)
    arms = {
        "inv": (Inv(0.01, 0.0001, 0.75), 10_000, {}),
        "step": (Step(0.01, drops, 0.9), 10_000, {}),
        "1cycle, 85 epochs": cycle(85, 40, 0.02),
        "1cycle, 50 epochs": cycle(50, 23),
        "1cycle, 25 epochs": cycle(25, 12),
        "1cycle, 12 epochs": cycle(12, 5),
        "1cycle, 6 epochs": cycle(6, 2.7),
        "1cycle, 3 epochs": cycle(3, 1.35),
        "1cycle, 1 epoch": cycle(1, 0.45),
    }
    common = {"model": "lenet", "batch_size": 512, "weight_decay": 0.0005, "test_every": 100}
    return _runs(arms, seeds, dataset=dataset, subtract_mean=False, shuffle=False, **common)


def rehearsal(dataset: str, seeds: int) -> Runs:
    """Four short arms on any data: to try out a machine or a cluster."""
    bounds = (0.05, 0.5, 15)
    arms = {
        "fixed": (Fixed(0.1), 60, {}),
        "triangular": (Triangular(*bounds), 60, {}),
        "triangular2": (Triangular2(*bounds), 60, {}),
        "exp_range": (ExpRange(*bounds, 0.99), 60, {}),
    }
    common = {"model": "resnet8", "weight_decay": 0.0001, "test_every": 20}
    return _runs(arms, seeds, dataset=dataset, **common)


# the experiment and the data set it is meant for
EXPERIMENTS: dict[str, tuple[Callable[[str, int], Runs], str]] = {
    "table1": (table1, "cifar10"),
    "tenth": (tenth, "cifar10"),
    "laptop": (laptop, "cifar10"),
    "subset": (subset, "cifar10"),
    "range_test": (range_test, "cifar10"),
    "stepsize": (stepsize, "cifar10"),
    "superconvergence": (superconvergence, "cifar10"),
    "superconvergence_more": (superconvergence_more, "cifar10"),
    "superconvergence_small": (superconvergence_small, "cifar10"),
    "mnist": (mnist, "mnist"),
    "rehearsal": (rehearsal, "digits"),
}
