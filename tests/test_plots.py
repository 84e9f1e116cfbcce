import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_claims import run

from clr import plots
from clr.policies import POLICIES, Fixed, RangeRamp, Triangular
from clr.range_test import Bounds


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_every_policy_has_a_colour():
    assert set(POLICIES) == set(plots.COLOURS)


def test_policies_are_drawn_as_they_are():
    policy = Triangular(0.001, 0.006, 100)
    ax = plots.policies({"triangular": policy, "fixed": Fixed(0.002)}, 400)
    t, lr = ax.lines[0].get_data()
    assert np.array_equal(lr, policy(t.astype(int))) and t[0] == 0 and t[-1] == 400
    assert ax.lines[0].get_color() == plots.COLOURS["triangular"]
    assert [text.get_text() for text in ax.get_legend().texts] == ["triangular", "fixed"]


def test_a_second_policy_of_a_kind_is_dashed():
    ax = plots.policies({"a": Fixed(0.1), "b": Fixed(0.2)}, 10)
    assert ax.lines[0].get_color() == ax.lines[1].get_color()
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()


def test_histories_show_mean_and_range_of_the_seeds():
    ax = plots.histories({"fixed": [run([0.1, 0.5, 0.9]), run([0.1, 0.7])]})
    t, mean = ax.lines[0].get_data()
    assert t.tolist() == [0, 10, 20] and list(mean) == pytest.approx([0.1, 0.6, 0.9])
    corners = {(x, round(y, 6)) for x, y in ax.collections[0].get_paths()[0].vertices}
    assert {(10, 0.5), (10, 0.7)} <= corners
    assert ax.get_legend().texts[0].get_text() == "fixed (n = 2)"


def test_range_test_marks_the_bounds():
    ramp = RangeRamp(0, 1, 20)
    ax = plots.range_test([run([0.1, 0.5, 0.9], ramp)], Bounds(0.25, None, ""))
    assert ax.lines[-1].get_xdata() == [0.25, 0.25]
    labels = [text.get_text() for text in ax.get_legend().texts]
    assert labels == ["median (n = 1)", "base_lr = 0.25"]
