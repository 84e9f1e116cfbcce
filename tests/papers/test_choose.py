from dataclasses import replace

import numpy as np
import pytest
from made import experiment, run

from clr.papers import Arm
from clr.papers.choose import chosen
from clr.policies import Fixed
from clr.training import VALIDATION, VALIDATION_LOSS

GRID = experiment(
    {f"linear, {rate:g}": Arm(Fixed(rate), 20) for rate in (0.1, 0.2, 0.4)}, name="grid"
)


def validated(values, ended="finished", column=VALIDATION):
    """One made-up run per value: its last validation."""
    made = [run([0.1, 0.9, 0.5], ended=ended) for _ in values]
    return [
        replace(one, columns=one.columns | {column: np.full(3, value)})
        for one, value in zip(made, values, strict=True)
    ]


def test_the_best_mean_on_the_validation_set_chooses():
    runs = {
        "linear, 0.1": validated([0.5, 0.6]),
        "linear, 0.2": validated([0.9, 0.5]),
        "linear, 0.4": validated([0.6, 0.7]),
    }
    assert chosen(GRID, runs) == {"linear": (0.2, pytest.approx(0.7))}


def test_losses_are_better_where_they_are_lower():
    grid = replace(GRID, measure="loss")
    values = {"linear, 0.1": [2.0, 2.2], "linear, 0.2": [1.5, 1.7], "linear, 0.4": [1.8, 1.8]}
    runs = {arm: validated(each, column=VALIDATION_LOSS) for arm, each in values.items()}
    assert chosen(grid, runs) == {"linear": (0.2, pytest.approx(-1.6))}


def test_a_rate_at_which_a_run_diverged_is_not_chosen():
    runs = {
        "linear, 0.1": validated([0.5, 0.6]),
        "linear, 0.2": validated([0.6, 0.6]),
        "linear, 0.4": validated([0.9]) + validated([0.9], ended="diverged at iteration 15"),
    }
    assert chosen(GRID, runs)["linear"][0] == 0.2


@pytest.mark.parametrize(("best", "further"), [("0.1", "0.05"), ("0.4", "0.8")])
def test_a_grid_whose_best_rate_is_at_its_edge_is_refused(best, further):
    runs = {arm: validated([0.8 if arm.endswith(best) else 0.5] * 2) for arm in GRID.arms}
    with pytest.raises(ValueError, match=f"'linear' in grid must .*is {best},.*Add {further}"):
        chosen(GRID, runs)


def test_a_missing_run_is_named_with_its_command():
    runs = {"linear, 0.1": validated([0.5, 0.6]), "linear, 0.2": validated([0.5])}
    with pytest.raises(ValueError, match="2 runs of 'linear, 0.2'.* it has 1: python -m clr"):
        chosen(GRID, runs)
