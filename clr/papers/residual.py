"""Should the rate rise again? ResNet-8, a second network on the images of `worth_it`.

The data, the length and most schedules are those of `worth_it`. The network is the smallest of
Super-Convergence's family. It has batch normalisation, which `cifar10_full` does not have, and
a smaller weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clr.papers.again import at_rate
from clr.papers.choose import chosen
from clr.papers.experiment import Arm, Experiment, claim
from clr.papers.worth_it import SENSITIVITY, schedules, warmed
from clr.runs import Run

_N = 4000
RATES = (0.1, 0.2, 0.4)  # the peak rates that were planned for each schedule
# The rates that a schedule's grid got later, because one at its edge had been the best.
FURTHER: dict[str, tuple[float, ...]] = {}
FALLS = "linear to 0", "cosine to 0", "constant, then linear"  # each with and without a warm-up
_CYCLES = "two cycles", "two cycles, to 0"
_WITHOUT = {name: schedules(_N)[name] for name in ("constant", *FALLS, *_CYCLES)}
SCHEDULES = _WITHOUT | warmed(_N)
_VALIDATED = {
    "paper": "ours",
    "dataset": SENSITIVITY.dataset,
    "epoch": SENSITIVITY.epoch,
    "settings": {**SENSITIVITY.settings, "model": "resnet8", "weight_decay": 0.0001},
}

RATES_OF_RESIDUAL = Experiment(
    name="residual_rates",
    about="""The peak rate of each schedule of `residual`, and whether a fall has a warm-up.

    Ten schedules at three peak rates. A schedule's rate is the one with the highest mean
    validation accuracy over two seeds. While it is the lowest or the highest of the schedule's
    grid, the grid gets another rate there, an octave further. A fall comes without a warm-up
    and with one of a quarter of the run, and the better one is chosen in the same way. Test
    accuracies choose nothing.
    """,
    seeds=2,
    **_VALIDATED,
    arms={
        at_rate(name, rate): Arm(maker(rate), _N)
        for name, maker in SCHEDULES.items()
        for rate in (*RATES, *FURTHER.get(name, ()))
    },
)


def choices(runs: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """The schedules to compare and the chosen rate of each; `runs` are of `RATES_OF_RESIDUAL`.

    Of each fall, it is the better one of those with and without a warm-up.
    """
    best = chosen(RATES_OF_RESIDUAL, runs)
    for fall in FALLS:
        worse = min((fall, f"{fall}, warm-up"), key=lambda name: best[name][1])
        del best[worse]
    return {name: rate for name, (rate, _) in best.items()}


def residual(rates: Mapping[str, float]) -> Experiment:
    """Seven schedules at their chosen rates, on fresh seeds. `rates` is what `choices` gives.

    The experiment is to be committed with its rates before its first run.
    """
    linear, cosine, hold = (
        next(name for name in rates if name.startswith(fall)) for fall in FALLS
    )
    return Experiment(
        name="residual",
        about="""Should the rate of ResNet-8 rise again? Each schedule at its own best rate.

        The primary claims ask whether a second rise costs anything, and whether to hold the
        rate is better than to let it fall from the start, as on `cifar10_full`. With eight runs
        per schedule, "as good as" is likely to be undecided unless runs differ by little.
        """,
        **_VALIDATED,
        seeds=8,
        first_seed=2,
        arms={name: Arm(SCHEDULES[name](rate), _N) for name, rate in rates.items()},
        claims=(
            claim(f"two cycles, to 0 not worse than {linear}", primary=True),
            claim(f"{hold} better than {linear}", primary=True),
            claim(f"one cycle, to 0 as good as {linear}"),
            claim(f"one cycle, to 0 not worse than {cosine}"),
            claim("two cycles, to 0 better than one cycle, to 0"),
            claim("two cycles, to 0 better than two cycles"),
        ),
    )
