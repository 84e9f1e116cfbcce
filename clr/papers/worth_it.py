"""Is a cycle worth it? Experiments of ours that neither paper made.

All train Caffe's cifar10_full with Caffe's solver for 4,000 iterations (8 epochs of 50,000
images).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from clr.papers.again import at_rate, cosines, hold_and_fall, linear
from clr.papers.experiment import AFTER, KNOWN, Arm, Claim, Experiment, claim
from clr.papers.sensitivity import Curve, LiesIn, Wider
from clr.policies import Decay, Fixed, Policy, Stages, Step, Triangular, hann
from clr.runs import Run

_N, _PEAK = 4000, 0.006
_ENDS = {"to 0.001": 0.001, "to 0": 0.0}
CYCLE_COUNTS = {"one cycle": 1, "two cycles": 2, "four cycles": 4}


def _shapes(low: float) -> dict[str, Policy]:
    """Four schedules between `low` and the peak with the same mean rate and end rate."""
    cycles = {name: Triangular(low, _PEAK, _N // (2 * k)) for name, k in CYCLE_COUNTS.items()}
    return {"falls once": Decay(low, _PEAK, _N)} | cycles


def _matched_ends_claims() -> tuple[Claim, ...]:
    found = []
    for end in _ENDS:
        for shape in CYCLE_COUNTS:
            found.append(claim(f"{shape}, {end} better than falls once, {end}"))
        found.append(claim(f"four cycles, {end} better than one cycle, {end}"))
    for shape in ("falls once", *CYCLE_COUNTS):
        found.append(claim(f"{shape}, to 0 better than {shape}, to 0.001"))
    found.append(claim("two cycles, to 0, shuffled better than falls once, to 0, shuffled"))
    known = "two cycles, to 0.001"
    return tuple(
        replace(each, written=KNOWN) if known in (each.arm, each.other) else each
        for each in found
    )


MATCHED_ENDS = Experiment(
    name="matched_ends",
    about="""Does it help to raise the rate again, if the end rate and the mean rate are equal?

    Four schedules (falls once, one cycle, two cycles, four cycles) with a peak of 0.006, each
    with an end at 0.001 and one at 0, in file order. One pair has shuffled batches, to show the
    effect of the file order. The arm "two cycles, to 0.001" is the arm "triangular" of
    `laptop`; the results of its seeds 0 to 2 were known when this was planned.
    """,
    paper="ours",
    dataset="cifar10",
    seeds=5,
    epoch=500,
    settings={"shuffle": False},
    arms={
        **{
            f"{shape}, {end}": Arm(policy, _N)
            for end, low in _ENDS.items()
            for shape, policy in _shapes(low).items()
        },
        **{
            f"{shape}, to 0, shuffled": Arm(_shapes(0.0)[shape], _N, {"shuffle": True})
            for shape in ("falls once", "two cycles")
        },
    },
    claims=_matched_ends_claims(),
)


def sentence(claim: str) -> str:
    """The text of a claim about these schedules as a sentence, without the commas of the arms.

    'one cycle, to 0 is better than falls once, to 0' gives
    'One cycle to 0 is better than one fall to 0'.
    """
    # a non-breaking space keeps "to 0" on one line of a figure
    words = {
        "falls once": "one fall",
        ", to ": " to\u00a0",
        " to 0": " to\u00a00",
        ", shuffled": " (shuffled)",
        ", warm-up": " with a warm-up",
    }
    for old, new in words.items():
        claim = claim.replace(old, new)
    twice = r"(.*), twice its rate minus \1 is better than (.*), twice its rate minus \2"
    claim = re.sub(twice, r"twice its rate costs \1 less than \2", claim)
    said = re.sub(r"^((?:two|four) cycles.*?) is ", r"\1 are ", claim)
    return said[0].upper() + said[1:]


RATES = tuple(0.0005 * 2**k for k in range(6))  # 0.0005 to 0.016


def schedules(iterations: int) -> dict[str, Callable[[float], Policy]]:
    """Seven schedules of that length by name, each as a function of its peak rate."""
    n, last = iterations, iterations // 5
    return {
        "constant": Fixed,
        "step": lambda peak: Step(peak, (n // 2, 3 * n // 4)),
        "linear to 0": lambda peak: Decay(0.0, peak, n),
        "cosine to 0": lambda peak: Decay(0.0, peak, n, wave=hann),
        "constant, then linear": lambda peak: Stages(
            ((Fixed(peak), n - last), (Decay(0.0, peak, last), last))
        ),
        "two cycles": lambda peak: Triangular(peak / 6, peak, n // 4),
        "two cycles, to 0": lambda peak: Triangular(0.0, peak, n // 4),
    }


def over_rates(names: Sequence[str], rates: Sequence[float], iterations: int) -> dict[str, Arm]:
    """An arm for each of these schedules at each of these peak rates."""
    makers = schedules(iterations)
    return {
        at_rate(name, rate): Arm(makers[name](rate), iterations)
        for name in names
        for rate in rates
    }


def curves(
    runs: Mapping[str, Sequence[Run]], names: Sequence[str], rates: Sequence[float]
) -> dict[str, Curve]:
    """The curve of each schedule that was run at all of these peak rates.

    `runs` are those of `over_rates`, by arm. Only the seeds that have a run at each of the
    rates are used.
    """
    found = {}
    for name in names:
        each = {
            rate: {run.config.seed: run for run in runs.get(at_rate(name, rate), [])}
            for rate in rates
        }
        seeds = sorted(set.intersection(*map(set, each.values())))
        if seeds:
            by_rate = {rate: [some[seed] for seed in seeds] for rate, some in each.items()}
            found[name] = Curve.of(by_rate)
    return found


CYCLES = ("two cycles", "two cycles, to 0")


def chosen(curves: Mapping[str, Curve]) -> tuple[dict[str, float], str]:
    """Each schedule's chosen rate, and the better of the two cyclical schedules.

    Both follow from validation accuracies: a rate has the highest mean over the seeds, and the
    better cyclical schedule has the higher mean at its own chosen rate. KeyError if a cyclical
    schedule has no curve.
    """

    def best(name: str) -> float:
        return float(curves[name].validation.mean(1).max())

    return {name: curve.chosen for name, curve in curves.items()}, max(CYCLES, key=best)


_VALIDATED = {  # 5,000 of the 50,000 images choose the rate
    "paper": "ours",
    "dataset": "cifar10",
    "epoch": 450,
    "settings": {"validation_images": 5000, "test_every": 1000},
}
_CHOSEN = _VALIDATED | {"seeds": 5, "first_seed": 3}  # other seeds than those that chose it

SENSITIVITY = Experiment(
    name="sensitivity",
    about="""How much does the result depend on the rate? Seven schedules, six peak rates each.

    The training uses 45,000 images in shuffled batches. The other 5,000 images choose the rate:
    for each schedule, the rate with the highest mean accuracy on them over three seeds. If the
    chosen rate is the lowest or the highest of the grid, the grid gets another rate there, an
    octave further. Then the schedules are compared on new seeds, each with its chosen rate
    (`at_chosen_rates`).
    """,
    seeds=3,
    **_VALIDATED,
    arms=over_rates(list(schedules(_N)), RATES, _N),
)

WINDOWS = (  # claims about the windows of `SENSITIVITY`, planned before its first run
    Wider("two cycles", "constant"),
    Wider("two cycles", "cosine to 0"),
    LiesIn("two cycles", "the max_lr that the range test advises (the experiment range_test)"),
)


def at_chosen_rates(rates: Mapping[str, float], cycle: str) -> Experiment:
    """Every schedule with its own chosen rate, on five seeds that were not used to choose it.

    `rates` holds each schedule's chosen peak rate; `cycle` is the better one of the two
    cyclical schedules at its chosen rate. Both come from the validation accuracies of
    `SENSITIVITY`, and from nothing else. The claims about that cycle were planned before, but
    the rates and the cycle that they are about stand in a commit after the runs.
    """
    makers = schedules(_N)
    return Experiment(
        name="at_chosen_rates",
        about="""Each schedule with its own best rate, at an equal budget, on fresh seeds.

        The rates are those that `sensitivity` chose by validation accuracy on its three seeds;
        these five seeds are others.
        """,
        **_CHOSEN,
        arms={name: Arm(makers[name](rate), _N) for name, rate in rates.items()},
        claims=(
            claim(f"{cycle} not worse than cosine to 0", written=AFTER),
            claim(f"{cycle} not worse than linear to 0", written=AFTER),
            claim(f"{cycle} better than constant", written=AFTER),
        ),
    )


# The rates that `chosen` returned for the runs of `SENSITIVITY`, and the cycle. A test compares
# them with the records.
AT_CHOSEN_RATES = at_chosen_rates(
    {
        "constant": 0.002,
        "step": 0.004,
        "linear to 0": 0.004,
        "cosine to 0": 0.004,
        "constant, then linear": 0.004,
        "two cycles": 0.004,
        "two cycles, to 0": 0.008,
    },
    "two cycles, to 0",
)

CYCLE_OR_FALL = Experiment(
    name="cycle_or_fall",
    about="""One more planned look at one cycle against one fall, both to 0.

    In `matched_ends` (five seeds, file order) one cycle was 0.6 points above one fall, with an
    interval that allowed both answers. These runs have fresh seeds and shuffled batches; the
    old ones are not counted.
    """,
    paper="ours",
    dataset="cifar10",
    seeds=10,
    first_seed=10,
    epoch=500,
    arms={shape: Arm(_shapes(0.0)[shape], _N) for shape in ("one cycle", "falls once")},
    claims=(claim("one cycle better than falls once", primary=True),),
)


def warmed(iterations: int) -> dict[str, Callable[[float], Policy]]:
    """Three falling schedules with a warm-up of a quarter, and one cycle to 0.

    As `schedules`: each is a function of its peak rate.
    """
    return {
        "linear to 0, warm-up": linear(iterations, 0.25),
        "cosine to 0, warm-up": cosines(iterations // 4, iterations),
        "constant, then linear, warm-up": hold_and_fall(iterations, iterations // 4),
        "one cycle, to 0": lambda peak: Triangular(0.0, peak, iterations // 2),
    }


RISEN = tuple(name for name in warmed(1) if name.endswith(", warm-up"))
GRID = RATES[-3:]  # the rates of `WARM_UP_RATES` that were planned for each schedule
# The rates that a schedule's grid got later, because its lowest one had been the best.
FURTHER = {"cosine to 0, warm-up": (0.002,), "constant, then linear, warm-up": (0.002,)}

WARM_UP_RATES = Experiment(
    name="warm_up_rates",
    about="""The peak rates of falling schedules with a warm-up, and of one cycle.

    No falling schedule of `sensitivity` has a warm-up; a cycle rises by itself. The settings
    are those of `sensitivity`. A rate is chosen as there, by validation accuracy, but from a
    grid of three rates and over two seeds (there: six and three); if it is the lowest or the
    highest of the grid, the grid gets another rate there, an octave further. A warm-up is a
    quarter of the run; no other length is tried.
    """,
    seeds=2,
    **_VALIDATED,
    arms={
        at_rate(name, rate): Arm(maker(rate), _N)
        for name, maker in warmed(_N).items()
        for rate in (*GRID, *FURTHER.get(name, ()))
    },
)


def rising_curves(runs: Mapping[str, Sequence[Run]]) -> dict[str, Curve]:
    """The curve of each schedule of `warmed`, as `curves`; `runs` are of `WARM_UP_RATES`."""
    found: dict[str, Curve] = {}
    for name in warmed(_N):
        found |= curves(runs, [name], sorted((*GRID, *FURTHER.get(name, ()))))
    return found


def warm_up(rates: Mapping[str, float]) -> Experiment:
    """The schedules of `warmed` at their chosen rates, beside some of `AT_CHOSEN_RATES`.

    `rates` holds the peak rate of each schedule of `warmed`: the first value of each pair that
    `clr.papers.choose.chosen` gives for the runs of `WARM_UP_RATES`.
    """
    makers, known = warmed(_N), AT_CHOSEN_RATES.arms
    pairs = [(name, name.removesuffix(", warm-up")) for name in RISEN]
    hold = "constant, then linear"
    return Experiment(
        name="warm_up",
        about="""Does a warm-up help on cifar10_full, and is one cycle more than a warm-up?

        Three falling schedules with and without a warm-up of a quarter of the run, one cycle
        and two cycles, all to 0, each at its own best rate. The schedules without a warm-up
        are those of `at_chosen_rates`, where holding the rate and then letting it fall was
        best without a planned claim. All arms have fresh seeds here, and that claim is planned.
        """,
        **_CHOSEN | {"first_seed": 8},
        arms={
            **{name: Arm(makers[name](rate), _N) for name, rate in rates.items()},
            **{name: known[name] for _, name in pairs},
            "two cycles, to 0": known["two cycles, to 0"],
        },
        claims=(
            *(claim(f"{risen} better than {plain}", primary=True) for risen, plain in pairs),
            claim(f"{hold} better than linear to 0", primary=True),
            claim(f"{hold} better than cosine to 0"),
            claim("one cycle, to 0 as good as linear to 0, warm-up"),
            claim("one cycle, to 0 better than linear to 0"),
            claim("two cycles, to 0 not worse than linear to 0, warm-up"),
        ),
    )


# The rates that `choose.chosen` returned for the runs of `WARM_UP_RATES`. A test compares them
# with the records.
WARM_UP = warm_up(
    {
        "linear to 0, warm-up": 0.008,
        "cosine to 0, warm-up": 0.004,
        "constant, then linear, warm-up": 0.004,
        "one cycle, to 0": 0.008,
    }
)
