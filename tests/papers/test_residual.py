"""`residual`: its arms are what their names say."""

import pytest

from clr.papers.residual import RATES, RATES_OF_RESIDUAL, SCHEDULES, residual

PEAKS = {name: 0.1 * (2 + i) for i, name in enumerate(SCHEDULES)}


def test_an_arm_has_the_peak_the_end_and_the_warm_up_of_its_name():
    made = residual(PEAKS)
    assert set(made.arms) == set(SCHEDULES)
    for name, arm in made.arms.items():
        found = arm.policy(range(arm.iterations + 1))
        assert arm.iterations == 4000 and found.max() == pytest.approx(PEAKS[name])
        first, last = {
            "constant": (PEAKS[name], PEAKS[name]),
            "two cycles": (PEAKS[name] / 6, PEAKS[name] / 6),
        }.get(name, (0, 0))
        assert found[0] == pytest.approx(first) and found[-1] == pytest.approx(last)
        if name.endswith("warm-up"):
            assert found.argmax() == 1000


def test_the_runs_that_choose_the_rates_do_not_judge_them():
    grid, made = RATES_OF_RESIDUAL, residual(PEAKS)
    assert len(grid.arms) == len(SCHEDULES) * len(RATES)
    assert made.first_seed == grid.first_seed + grid.seeds
    assert made.settings == grid.settings and made.epoch == grid.epoch
