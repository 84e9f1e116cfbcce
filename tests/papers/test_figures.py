import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made import run

from clr.papers import figures
from clr.papers.cyclical import TABLE1
from clr.policies import Decay, Fixed, Policy, Triangular, Triangular2


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


class Late(Policy, name="late"):
    """A policy as a user would write one."""

    def _values(self, t):
        return t / 1000


class Later(Policy, name="later"):
    """And another."""

    def _values(self, t):
        return t / 2000


def test_a_new_policy_has_a_colour_of_its_own():
    drawn = {
        "fixed": Fixed(0.1),
        "late": Late(),
        "later": Later(),
        "triangular": Triangular(0, 1, 5),
    }
    first = [line.get_color() for line in figures.policies(drawn, 10).lines]
    assert "black" not in first and len(set(first)) == 4
    alone = figures.policies({"by any label": Late()}, 10).lines[0]
    assert alone.get_color() == first[1] and alone.get_linestyle() == "-"
    assert first[1] == pytest.approx(
        (0.72, 0.288369, 0.18), abs=1e-6
    )  # the same in every process


def test_policies_are_drawn_as_they_are():
    policy = Triangular(0.001, 0.006, 100)
    ax = figures.policies({"triangular": policy, "fixed": Fixed(0.002)}, 400)
    t, lr = ax.lines[0].get_data()
    assert np.array_equal(lr, policy(t.astype(int))) and t[0] == 0 and t[-1] == 400
    assert ax.lines[0].get_color() == figures.COLOURS["triangular"]
    assert [text.get_text() for text in ax.get_legend().texts] == ["triangular", "fixed"]


def test_a_second_policy_of_a_kind_is_dashed():
    ax = figures.policies({"a": Fixed(0.1), "b": Fixed(0.2)}, 10)
    assert ax.lines[0].get_color() == ax.lines[1].get_color()
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()


def test_histories_show_mean_and_range_of_the_seeds():
    ax = figures.histories({"fixed": [run([0.1, 0.5, 0.9]), run([0.1, 0.7])]})
    t, mean = ax.lines[0].get_data()
    assert t.tolist() == [0, 10, 20] and list(mean) == pytest.approx([0.1, 0.6, 0.9])
    corners = {(x, round(y, 6)) for x, y in ax.collections[0].get_paths()[0].vertices}
    assert {(10, 0.5), (10, 0.7)} <= corners
    assert ax.get_legend().texts[0].get_text() == "fixed (n = 2)"


def test_panels_have_one_group_each_and_the_legend_behind_the_last():
    runs = {"fixed": [run([0.1, 0.5])], "triangular": [run([0.1, 0.7], Triangular(0, 1, 5))]}
    groups = {"a": {}, "b": runs, "c": {"fixed": runs["fixed"]}, "d": {}}
    axes = figures.panels(groups)
    assert [ax.get_title() for ax in axes] == list("abcd")
    assert [len(ax.lines) for ax in axes] == [0, 2, 1, 0]
    assert [[text.get_text() for text in ax.texts] for ax in axes] == [
        ["not run"],
        [],
        [],
        ["not run"],
    ]
    assert [ax.get_xlabel() for ax in axes] == ["", "iteration", "iteration", "iteration"]
    assert [ax.get_ylabel() for ax in axes] == ["test accuracy", "", "", "test accuracy"]
    legend = plt.gcf().axes[4].get_legend()
    assert [text.get_text() for text in legend.texts] == ["fixed", "triangular"]
    assert len(figures.panels({"a": {}, "b": {}, "c": {}})) == 3  # a row of its own for it


def test_bounds_are_lines_with_both_rates_written_on_them():
    pairs = {"a": (0.001, 0.006), "b": (0.01, 0.1)}
    ax = figures.bounds(pairs, colours={"a": "red", "b": "blue"})
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.001, 0.006], [0.01, 0.1]]
    assert [line.get_color() for line in ax.lines] == ["red", "blue"]
    assert [text.get_text() for text in ax.texts] == ["0.001", "0.006", "0.01", "0.1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_xscale() == "log"


def test_published_are_stars_in_the_colour_of_the_arm():
    runs = {"triangular2": [run([0.1, 0.5], Triangular2(0.1, 0.2, 5))]}
    ax = figures.published(TABLE1, runs, ax=figures.histories(runs))
    stars = {tuple(c.get_offsets()[0]): c.get_facecolor()[0] for c in ax.collections}
    assert len(stars) == 5 and (42_000, 0.822) in stars
    assert tuple(stars[25_000, 0.814][:3]) == figures.COLOURS["triangular2"]
    assert [t.get_text() for t in ax.get_legend().texts][-1] == "published"


def test_rates_are_those_of_the_records():
    used = run([0.1, 0.5, 0.9], Triangular(0.1, 0.2, 10))
    ax = figures.rates({"triangular": [used]})
    line, dots = ax.lines
    assert np.array_equal(line.get_ydata(), used.config.policy(np.arange(21)))
    assert list(dots.get_ydata()) == list(used.history["lr"])


def test_anatomy_names_the_parts():
    ax = figures.anatomy(Triangular(0.001, 0.006, 100))
    texts = " ".join(text.get_text() for text in ax.texts)
    for word in ("base_lr", "max_lr", "stepsize", "cycle", "t = 250", "x = 0.50"):
        assert word in texts


def test_the_explorer_is_a_figure_or_widgets(monkeypatch):
    settings = (0.001, 0.006, 2000, 0.99994)
    for name in figures._LIVE:
        monkeypatch.delenv(name, raising=False)
    assert figures.explore(*settings) is None and len(plt.gcf().axes) == 1
    monkeypatch.setenv("JPY_SESSION_NAME", "somewhere")
    draw = figures.explore(*settings)
    names = [child.description for child in draw.widget.children if hasattr(child, "value")]
    assert names == ["policy", "wave", "base_lr", "max_lr", "stepsize", "gamma"]
    for policy in draw.widget.children[0].options:
        draw(policy, "hann", 0.01, 0.006, 100, 0.9998)  # a base_lr too large is brought down


def test_claims_are_points_with_intervals_in_the_verdicts_colour():
    row = {"claim": "a is better than b", "relation": "better than", "margin": 0.005}
    row |= {"experiment": "table1", "source": "CLR Table 1"}
    rows = [
        row | {"difference": 0.02, "low": 0.01, "high": 0.03, "verdict": "reproduced"},
        row | {"difference": -0.02, "low": None, "high": None, "verdict": "undecided"},
        row | {"difference": None, "low": None, "high": None, "verdict": "not run"},
        row | {"difference": None, "low": None, "high": None, "verdict": "undecided"},
    ]
    other = {"experiment": "mnist", "source": "SC our control"}
    ax, second_ax = figures.claims([*rows, rows[0] | other | {"difference": 0.0002}])
    assert [each.get_title(loc="left") for each in (ax, second_ax)] == ["table1", "mnist"]
    (name,) = second_ax.get_yticklabels()
    assert name.get_text() == "control: a is better than b"
    (far,) = figures.claims([rows[0] | {"difference": -0.3}])
    assert far.lines[1].get_marker() == "<" and far.get_xlim() == (-20, 20)  # 40 margins
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    line, first, second = drawn
    assert line.get_xdata() == pytest.approx([1, 3]) and list(line.get_ydata()) == [0, 0]
    assert line.get_color() == first.get_color() == figures.VERDICTS["reproduced"]
    assert second.get_xdata() == pytest.approx([-2])
    assert second.get_color() == figures.VERDICTS["undecided"]
    assert [text.get_text() for text in ax.texts] == ["a run diverged"]
    bar = ax.patches[0]  # what "better than" allows: from zero to the edge
    assert bar.get_x() == 0 and bar.get_x() + bar.get_width() == ax.get_xlim()[1] > 3


def test_numbers_are_differences_to_the_published():
    row = {"place": "CLR Table 1", "policy": "fixed", "setting": "x", "paper": "81.4"}
    row["dataset"] = "CIFAR-10"
    ran = row | {"accuracy": 0.814, "mean": 0.802, "sd": 0.01}
    (ax,) = figures.numbers([ran, row | {"accuracy": 0.814, "mean": None, "sd": None}])
    point = ax.containers[0].lines[0]
    assert point.get_xdata() == pytest.approx([-1.2]) and list(point.get_ydata()) == [0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["CLR Table 1, fixed, x: 81.4 %"]


def test_nothing_run_is_an_empty_figure():
    for draw in (figures.claims, figures.numbers):
        (ax,) = draw([])
        assert ax.get_title(loc="left") == "not run" and not ax.get_yticklabels()


def test_a_cosine_is_told_from_decay_though_both_are_one_policy():
    falls = {
        "decay": Decay(0.001, 0.007, 10),
        "cosine": Decay(0.0, 0.006, 10),
    }
    first, second = figures.policies(falls, 10).lines
    assert first.get_color() != second.get_color()
