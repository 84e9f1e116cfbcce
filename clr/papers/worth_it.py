"""Is a cycle worth it? Experiments of ours that neither paper made.

All train Caffe's cifar10_full with Caffe's solver for 4,000 iterations (8 epochs).
"""

from __future__ import annotations

from clr.papers.experiment import Arm, Claim, Experiment
from clr.policies import Decay, Policy, Triangular

_N, _PEAK = 4000, 0.006
_ENDS = {"to 0.001": 0.001, "to 0": 0.0}
_CYCLES = {"one cycle": 1, "two cycles": 2, "four cycles": 4}


def _shapes(low: float) -> dict[str, Policy]:
    """Four ways between `low` and the peak that have the same mean rate and the same end."""
    cycles = {name: Triangular(low, _PEAK, _N // (2 * k)) for name, k in _CYCLES.items()}
    return {"falls once": Decay(low, _PEAK, _N)} | cycles


def _matched_ends_claims() -> tuple[Claim, ...]:
    found = []
    for end in _ENDS:
        for shape in _CYCLES:
            found.append(
                Claim("control", f"{shape}, {end}", "better than", f"falls once, {end}")
            )
        found.append(
            Claim("control", f"four cycles, {end}", "better than", f"one cycle, {end}")
        )
    for shape in ("falls once", *_CYCLES):
        found.append(Claim("control", f"{shape}, to 0", "better than", f"{shape}, to 0.001"))
    shuffled = "two cycles, to 0, shuffled", "falls once, to 0, shuffled"
    found.append(Claim("control", shuffled[0], "better than", shuffled[1]))
    return tuple(found)


_SHUFFLED = {"shuffle": True}

MATCHED_ENDS = Experiment(
    name="matched_ends",
    about="""Does going up again help, when all schedules end at one rate and have one mean?

    {falls once, one cycle, two cycles, four cycles} with a peak of 0.006, each ending at 0.001
    and at 0, in file order; and one pair with shuffled batches, to see what the file order
    does. The two cycles that end at 0.001 are the arm "triangular" of `laptop`, whose seeds 0
    to 2 were known when this was planned.
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
        "falls once, to 0, shuffled": Arm(_shapes(0.0)["falls once"], _N, _SHUFFLED),
        "two cycles, to 0, shuffled": Arm(_shapes(0.0)["two cycles"], _N, _SHUFFLED),
    },
    claims=_matched_ends_claims(),
)
