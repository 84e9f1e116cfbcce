"""The experiments by name: which runs make them up. `python -m clr sweep` trains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clr import checks
from clr.policies import Decay, Exp, ExpRange, Fixed, Stages, Step, Triangular, Triangular2
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


STAGED_TRIANGULAR2 = Stages(
    (
        (Triangular2(0.001, 0.005, 2000), 16_000),
        (Triangular2(0.0001, 0.0005, 1000), 6_000),
        (Triangular2(0.00001, 0.00005, 500), 3_000),
    )
)


def table1(dataset: str, seeds: int) -> Runs:
    """CLR Table 1, CIFAR-10, with Caffe's cifar10_full, its solver and its file order.

    "triangular2" is the three stages of Table 2. The paper gives no bounds for exp and
    exp_range: those of its text are taken, and the gamma it gives.
    """
    arms = {
        "fixed": (Step(0.001, (60_000, 65_000)), 70_000, {}),
        "triangular2": (STAGED_TRIANGULAR2, 25_000, {}),
        "decay": (Decay(0.001, 0.007, 4000), 25_000, {}),
        "exp": (Exp(0.001, 0.99994), 70_000, {}),
        "exp_range": (ExpRange(0.001, 0.006, 2000, 0.99994), 42_000, {}),
    }
    return _runs(arms, seeds, dataset=dataset, shuffle=False)


def superconvergence(dataset: str, seeds: int) -> Runs:
    """Super-Convergence Fig. 1a: one cycle against a step schedule eight times as long.

    The settings of the author's scripts and logs: 1,000 images an iteration normalised 125
    at a time, and another moving average for the two arms.
    """
    arms = {
        "one cycle": (Triangular(0.1, 3.0, 5000), 10_000, {"bn_fraction": 0.95}),
        "step": (Step(0.35, (50_000, 70_000)), 80_000, {"bn_fraction": 0.999}),
    }
    return _runs(
        arms,
        seeds,
        dataset=dataset,
        model="resnet56",
        batch_size=1000,
        ghost_batch=125,
        weight_decay=0.0001,
        flip=True,
    )


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
    "superconvergence": (superconvergence, "cifar10"),
    "rehearsal": (rehearsal, "digits"),
}
