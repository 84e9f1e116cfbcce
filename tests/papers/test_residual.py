"""`residual`: its arms are what their names say."""

import pytest
from made import validated

from clr.papers import residual
from clr.papers.residual import FALLS, RATES, RATES_OF_RESIDUAL, SCHEDULES, choices
from clr.training import VALIDATION

PEAKS = {name: 0.1 * (2 + i) for i, name in enumerate(SCHEDULES)}
CYCLES = "one cycle, to 0", "two cycles", "two cycles, to 0"


@pytest.fixture(params=["", ", warm-up"])
def made(request):
    names = "constant", *CYCLES, *(fall + request.param for fall in FALLS)
    return residual.residual({name: PEAKS[name] for name in names})


def test_an_arm_has_the_peak_the_ends_and_the_warm_up_of_its_name(made):
    assert len(made.arms) == 7
    for name, arm in made.arms.items():
        found = arm.policy(range(arm.iterations + 1))
        peak = PEAKS[name]
        assert arm.iterations == 4000 and found.max() == pytest.approx(peak)
        end = {"constant": peak, "two cycles": peak / 6}.get(name, 0)
        rises = name.endswith("warm-up") or name in CYCLES
        assert found[-1] == pytest.approx(end)
        assert found[0] == pytest.approx(end if rises else peak)
        if name.endswith("warm-up"):
            assert found.argmax() == 1000


def test_the_runs_that_choose_do_not_judge(made):
    grid = RATES_OF_RESIDUAL
    assert made.first_seed == grid.first_seed + grid.seeds
    assert made.settings == grid.settings and made.epoch == grid.epoch


def test_of_each_fall_the_better_one_is_chosen_at_its_best_rate():
    def score(schedule, rate):
        longer = schedule in ("linear to 0, warm-up", "cosine to 0")
        return 0.7 + 0.1 * longer - 0.2 * (rate != RATES[1])

    found = choices(validated(RATES_OF_RESIDUAL, VALIDATION, score))
    assert set(found.values()) == {RATES[1]} and len(found) == 7
    assert {"linear to 0, warm-up", "cosine to 0", *CYCLES, "constant"} <= found.keys()
    assert [c.arm for c in residual.residual(found).claims[:2]] == [
        "two cycles, to 0",
        next(name for name in found if name.startswith(FALLS[2])),
    ]
