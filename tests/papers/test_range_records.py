"""What notebook 2 says of the recorded range tests and of the stepsize, against the records."""

import numpy as np
import pytest

from clr.papers import published, verdicts
from clr.papers.cyclical import RANGE_TEST, STEPSIZE
from clr.papers.experiment import Arm, Experiment
from clr.policies import RangeRamp
from clr.range_test import RangeTest
from clr.runs import Store


@pytest.fixture(scope="module")
def cifar():
    return RangeTest.from_runs(RANGE_TEST.most_recorded(Store.committed())["range ramp"])


@pytest.fixture(scope="module")
def digits():
    small = Experiment(
        name="digits",
        about="The range test of notebook 2 on the digits.",
        paper="ours",
        dataset="digits",
        seeds=5,
        settings={"weight_decay": 0.0004, "test_every": 15},
        arms={"range ramp": Arm(RangeRamp(0.0, 0.08, 1500), 1500)},
    )
    return RangeTest.from_runs(small.recorded(Store.committed())["range ramp"])


@pytest.fixture(scope="module")
def steps():
    return STEPSIZE.most_recorded(Store.committed())


def test_each_seed_differs_from_the_paper_by_less_than_a_third(cifar):
    paper = published.of(RANGE_TEST).loc["range ramp", ["base_lr", "max_lr"]].to_numpy(float)
    for pair in cifar.bounds().seeds:
        assert np.all(np.abs(np.array(pair) / paper - 1) < 1 / 3)


def test_the_seeds_agree_to_within_a_third(cifar):
    assert max(cifar.bounds().spread().values()) < 1.34


def test_where_accuracy_falls_is_twice_as_high_and_on_the_digits_uncertain(cifar, digits):
    assert 1.8 < cifar.bounds("falls").max_lr / cifar.bounds().max_lr < 2.3
    assert 1.8 < digits.bounds("falls").spread()["max_lr"] < 2.5
    assert digits.bounds().spread()["max_lr"] < 1.5


def test_the_rules_of_other_tools_give_about_the_papers_base_lr(cifar):
    for method in ("loss steepest", "loss minimum/10"):
        assert cifar.bounds(method).max_lr == pytest.approx(0.001, rel=0.1)


def test_eight_epochs_are_about_three_points_better_than_two(steps):
    (row,) = [
        row for row in verdicts.judge(STEPSIZE, steps) if " is as good as " in row["claim"]
    ]
    assert row["verdict"] == "different" and row["holm"] == "yes"
    assert 0.028 < row["difference"] < 0.038


def test_accuracy_is_points_lower_in_the_middle_of_a_cycle(steps):
    at = {}
    for t in (1280, 1920, 2560):
        tests = [run.history.set_index("iteration") for run in steps["stepsize 640"]]
        at[t] = np.mean([test.loc[t, "test_accuracy"] for test in tests])
    assert at[1280] - at[1920] > 0.05 and at[2560] - at[1920] > 0.05
