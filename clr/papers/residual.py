"""Should the rate rise again? A third workload: ResNet-8, which has batch normalisation.

The schedules, the data and the length are those of `worth_it`; the network is the smallest one
of Super-Convergence's family. It is there because `cifar10_full` has no normalisation between
its layers, and because a network that has it often allows higher rates.
"""

from __future__ import annotations

from collections.abc import Mapping

from clr.papers.again import at_rate
from clr.papers.experiment import Arm, Experiment, claim
from clr.papers.worth_it import schedules, warmed

_N = 4000
RATES = (0.1, 0.2, 0.4)  # peak rates
_PLAIN = "constant", "two cycles", "two cycles, to 0"  # of `schedules`
SCHEDULES = warmed(_N) | {name: schedules(_N)[name] for name in _PLAIN}
_VALIDATED = {
    "paper": "ours",
    "dataset": "cifar10",
    "epoch": 450,
    "settings": {
        "model": "resnet8",
        "weight_decay": 0.0001,
        "validation_images": 5000,
        "test_every": 1000,
    },
}

RATES_OF_RESIDUAL = Experiment(
    name="residual_rates",
    about="""The peak rate of each schedule of `residual`: seven schedules at three rates.

    A schedule's rate is the one with the highest mean validation accuracy over two seeds. If it
    is the lowest or the highest of the grid, the grid gets another rate there, an octave
    further. Test accuracies choose nothing. A warm-up is a quarter of the run; no other length
    is tried.
    """,
    seeds=2,
    **_VALIDATED,
    arms={
        at_rate(name, rate): Arm(maker(rate), _N)
        for name, maker in SCHEDULES.items()
        for rate in RATES
    },
)


def residual(rates: Mapping[str, float]) -> Experiment:
    """The schedules of `SCHEDULES` at their chosen rates, on fresh seeds.

    `rates` holds the peak rate of each: the first value of each pair that
    `clr.papers.choose.chosen` gives for the runs of `RATES_OF_RESIDUAL`.
    """
    fall = "linear to 0, warm-up"
    return Experiment(
        name="residual",
        about="""Should the rate of ResNet-8 rise again? Each schedule at its own best rate.

        The primary claims are those of `again` about the end of a run of known length, and one
        on holding the rate, which was best on `cifar10_full`. With five runs per schedule, "as
        good as" is decided only if the runs of a schedule differ little.
        """,
        **_VALIDATED,
        seeds=5,
        first_seed=2,
        arms={name: Arm(SCHEDULES[name](rate), _N) for name, rate in rates.items()},
        claims=(
            claim(f"two cycles, to 0 not worse than {fall}", primary=True),
            claim(f"one cycle, to 0 as good as {fall}", primary=True),
            claim(f"constant, then linear, warm-up better than {fall}", primary=True),
            claim("one cycle, to 0 not worse than cosine to 0, warm-up"),
            claim("two cycles, to 0 better than two cycles"),
            claim(f"{fall} better than constant"),
        ),
    )
