import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clr.range_test import COLUMNS, Bounds, RangeTest


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_range_test_draws_how_the_bounds_are_read():
    curve = pd.DataFrame([[0, 0.0, 1, 0, 0.1], [1, 0.5, 1, 0, 0.5], [2, 1.0, 1, 0, 0.9]])
    curve.columns = COLUMNS
    test = RangeTest([curve] * 2, ["finished"] * 2)
    bounds = Bounds(0.25, None, "accuracy", "", ((0.2, None), (0.3, 0.9)))
    ax = test.plot(bounds)
    median, down, point, base, top = ax.lines[2:]
    assert list(down.get_xdata()) == [0.25, 0.25] and list(point.get_xdata()) == [0.25]
    assert point.get_ydata()[0] == np.interp(0.25, median.get_xdata(), median.get_ydata())
    assert list(base.get_xdata()) == [0.2, 0.3] and list(top.get_xdata()) == [0.9]
    labels = [text.get_text() for text in ax.get_legend().texts]
    assert labels == ["median (n = 2), smoothed", "base_lr 0.25"]
    ax = test.plot(Bounds(None, 0.5, "loss steepest", ""))
    assert ax.get_ylabel() == "train loss"
    assert test.plot().get_ylabel() == "test accuracy"


def test_a_run_that_broke_at_once_is_drawn_too():
    curve = pd.DataFrame([[1, 0.1, float("nan"), float("nan"), 0.1]], columns=COLUMNS)
    test = RangeTest([curve], ["diverged at iteration 1"])
    assert test.plot(test.bounds("loss steepest")).get_xlabel() == "learning rate"


def test_a_seed_that_diverged_ends_in_a_cross():
    curve = pd.DataFrame([[0, 0.0, 1, 0, 0.1], [1, 0.5, 1, 0, 0.5], [2, 1.0, 1, 0, 0.9]])
    curve.columns = COLUMNS
    ax = RangeTest([curve, curve[:2]], ["finished", "diverged at iteration 1"]).plot()
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert cross.get_xydata().tolist() == [[0.5, 0.5]]
    labels = [text.get_text() for text in ax.get_legend().texts]
    assert labels == ["median (n = 2)", "diverged: 1 of 2"]
