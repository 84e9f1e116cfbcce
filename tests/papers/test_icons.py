"""The shapes of schedules as small pictures."""

import numpy as np
import pytest

from clr.papers import EXPERIMENTS, icons
from clr.policies import Fixed, Step, Triangular


def points(path):
    return np.array([[float(x) for x in pair.split()] for pair in path[1:].split("L")])


def test_two_cycles_are_five_points_in_the_box():
    found = points(icons.path(Triangular(0.0, 0.006, 1000), 4000))
    assert found[:, 0] == pytest.approx([2, 17, 32, 47, 62], abs=0.1)
    assert found[:, 1] == pytest.approx([22, 2, 22, 2, 22], abs=0.2)


def test_all_icons_of_the_experiments_lie_in_the_box_and_are_short():
    for experiment in EXPERIMENTS.values():
        for arm in experiment.arms.values():
            path = icons.path(arm.policy, arm.iterations)
            found = points(path)
            assert found.min() >= 2 and found[:, 0].max() <= 62 and found[:, 1].max() <= 22
            assert len(path) < 1500


def test_a_rate_of_zero_has_an_icon():
    assert points(icons.path(Fixed(0.0), 10))[:, 1].tolist() == [22, 22]


@pytest.mark.parametrize("policy", [Step(0.1, (500, 750)), Triangular(0.001, 0.1, 100)])
def test_a_curve_is_drawn_by_few_points(policy):
    t, rates = icons.curve(policy, 1000)
    every = np.arange(1001)
    assert len(t) < 15 and t[0] == 0 and t[-1] == 1000
    assert np.abs(np.interp(every, t, rates) - policy(every)).max() <= 0.1 / 1000 * 1.001
