import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made import run

from clr.papers import figures
from clr.papers.cyclical import TABLE1
from clr.papers.sensitivity import Curve
from clr.papers.super_convergence import MNIST
from clr.policies import Decay, Fixed, Policy, Stages, Triangular, Triangular2, hann


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


def test_panels_have_one_group_each_and_one_legend_above():
    runs = {"fixed": [run([0.1, 0.5])], "triangular": [run([0.1, 0.7], Triangular(0, 1, 5))]}
    groups = {"a": {}, "b": runs, "c": {"fixed at the mean": runs["fixed"]}, "d": {}}
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
    (legend,) = plt.gcf().legends
    names = [text.get_text() for text in legend.texts]
    assert names == ["fixed", "triangular", "fixed at the mean"]
    (mean,) = axes[2].lines  # dashed, as in the legend: "fixed" has the same colour
    assert mean.get_linestyle() == legend.get_lines()[2].get_linestyle() == "--"
    figures.panels({"a": {}, "b": runs})
    assert len(plt.gcf().axes) == 2  # no empty panels
    with pytest.raises(ValueError, match="groups"):
        figures.panels({})


def test_histories_without_runs_say_so(recwarn):
    ax = figures.histories({})
    assert [text.get_text() for text in ax.texts] == ["not run"] and not recwarn.list


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
    drawn = [each for each in ax.collections if len(each.get_offsets())]
    stars = {tuple(each.get_offsets()[0]): each.get_facecolor()[0] for each in drawn}
    assert list(stars) == [(25_000, 0.814)]  # the other arms have no runs here
    assert tuple(stars[25_000, 0.814][:3]) == figures.COLOURS["triangular2"]
    assert [t.get_text() for t in ax.get_legend().texts][-1] == "published"


def test_where_the_paper_gives_epochs_the_star_is_at_the_end_of_the_arm():
    runs = {"inv": [run([0.1, 0.5])]}
    ax = figures.published(MNIST, runs, ax=figures.histories(runs))
    drawn = [tuple(each.get_offsets()[0]) for each in ax.collections if len(each.get_offsets())]
    assert drawn == [(10_000, 0.9903)]


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
    halved = figures.anatomy(Triangular2(0.001, 0.006, 100))  # x does not depend on the policy
    assert "x = 0.50" in " ".join(text.get_text() for text in halved.texts)


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
    row = {
        "claim": "a is better than b",
        "relation": "better than",
        "margin": 0.005,
        "points": "",
    }
    row |= {"experiment": "table1", "measure": "accuracy"}
    none = {"difference": None, "low": None, "high": None, "published_difference": None}
    rows = [
        row | {"difference": 0.02, "low": 0.01, "high": 0.03, "published_difference": 0.04},
        row | none | {"difference": -0.02},
        row | none,
        row | none | {"points": "1 of 3 diverged"},
    ]
    words = ["better", "undecided", "not run", "worse"]
    rows = [each | {"verdict": word} for each, word in zip(rows, words, strict=True)]
    other = rows[0] | {"experiment": "tenth", "difference": 0.0002, "low": 0.0, "high": 0.0004}
    ax, second_ax = figures.claims([*rows, other | {"published_difference": None}])
    assert [each.get_title(loc="left") for each in (ax, second_ax)] == ["table1", "tenth"]
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    star, line, first, second = drawn
    assert star.get_xdata() == pytest.approx([4]) and star.get_marker() == "*"
    assert line.get_xdata() == pytest.approx([1, 3]) and list(line.get_ydata()) == [0, 0]
    assert line.get_color() == first.get_color() == figures.VERDICTS["better"]
    assert second.get_xdata() == pytest.approx([-2])
    assert second.get_color() == figures.VERDICTS["undecided"]
    assert [text.get_text().strip() for text in ax.texts] == ["1 of 3 diverged"]
    bar = ax.patches[0]  # what "better than" allows: from zero to the edge
    assert bar.get_x() == 0 and bar.get_width() == ax.get_xlim()[1] > 4
    low, high = second_ax.get_xlim()  # a scale of its own: the margin on both sides
    assert -1 < low < -0.5 and 0.5 < high < 1


def test_panels_of_claims_can_be_by_any_column():
    row = {"claim": "a is as good as b", "relation": "as good as", "margin": 0.005}
    row |= {"experiment": "x", "measure": "accuracy"}
    row |= {"difference": 0.2, "low": 0.1, "high": 0.3, "published_difference": None}
    row |= {"source": "CLR"}
    (ax,) = figures.claims([row | {"verdict": "different"}], by="source")
    assert ax.get_title(loc="left") == "CLR"
    assert ax.get_xlim()[1] > 30  # nothing is cut off
    bar = ax.patches[0]
    assert (bar.get_x(), bar.get_width()) == pytest.approx((-0.5, 1.0))


def test_a_panel_of_losses_is_in_nats_and_less_is_better():
    row = {"claim": "a is not worse than b", "relation": "not worse than", "margin": 0.02}
    row |= {"experiment": "x", "measure": "loss", "verdict": "not worse"}
    row |= {"difference": -0.1, "low": -0.15, "high": -0.05, "published_difference": None}
    (ax,) = figures.claims([row])
    line, dot = [each for each in ax.lines if len(each.get_xdata())]
    assert line.get_xdata() == pytest.approx([-0.15, -0.05]) and list(dot.get_xdata()) == [-0.1]
    bar = ax.patches[0]  # from the edge up to the margin above 0
    assert bar.get_x() + bar.get_width() == pytest.approx(0.02) and bar.get_x() < -0.15
    assert "nats" in ax.get_xlabel()


def test_numbers_are_differences_to_the_published():
    row = {"place": "CLR Table 1", "policy": "fixed", "setting": "x", "theirs": "81.4"}
    row |= {"accuracy": 0.814, "n": 3, "diverged": 0}
    ran = row | {"mean": 0.802, "sd": 0.01}
    gone = row | {"mean": 0.8, "sd": None, "diverged": 2}
    (ax,) = figures.numbers([ran, row | {"mean": None, "sd": None}, gone])
    point = ax.containers[0].lines[0]
    assert point.get_xdata() == pytest.approx([-1.2]) and list(point.get_ydata()) == [0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["fixed, x: 81.4 %"] * 2
    assert [text.get_text().strip() for text in ax.texts] == ["2 of 3 runs diverged"]
    assert ax.get_title(loc="left") == "CLR Table 1"


def test_nothing_run_is_an_empty_figure():
    for draw in (figures.claims, figures.numbers):
        (ax,) = draw([])
        assert ax.get_title(loc="left") == "not run" and not ax.get_yticklabels()


def test_a_sensitivity_curve_marks_the_chosen_rate_and_the_diverged_runs():
    rates, accuracies = (0.001, 0.002, 0.004), np.array([[0.5, 0.6], [0.7, 0.7], [0.1, 0.1]])
    curve = Curve(rates, accuracies, accuracies, diverged=(0, 0, 2))
    ax = figures.sensitivity({"cosine": curve}, {"cosine": Decay(0, 0.1, 10, wave=hann)})
    mean, gone, chosen = ax.lines
    assert mean.get_xydata().tolist() == [[0.001, 0.55], [0.002, 0.7], [0.004, 0.1]]
    assert gone.get_xydata().tolist() == [[0.004, 0.1]] and gone.get_marker() == "x"
    assert chosen.get_xydata().tolist() == [[0.002, 0.7]]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.1 and [0.001, 0.6] in band.tolist()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.001", "0.002", "0.004"]
    assert ax.get_xscale() == "log"


def test_a_sensitivity_figure_can_end_below_its_best_mean():
    rates, accuracies = (0.001, 0.002, 0.004), np.array([[0.6], [0.7], [0.1]])
    curve = Curve(rates, accuracies, accuracies, diverged=(0, 0, 1))
    ax = figures.sensitivity({"fixed": curve}, {"fixed": Fixed(0.1)}, below=0.15)
    assert ax.get_ylim()[0] == pytest.approx(0.55) and ax.get_ylim()[1] > 0.7
    _, gone, _ = ax.lines
    assert gone.get_xydata()[0] == pytest.approx([0.004, 0.55]) and not gone.get_clip_on()


def test_a_cosine_is_not_the_colour_of_decay_and_stages_are_that_of_their_last():
    drawn = {
        "decay": Decay(0, 0.1, 10),
        "cosine": Decay(0, 0.1, 10, wave=hann),
        "staged": Stages(((Fixed(0.1), 5), (Triangular2(0, 0.1, 5), 5))),
    }
    colours = [line.get_color() for line in figures.policies(drawn, 10).lines]
    assert len(set(colours)) == 3
    assert colours[2] == figures.COLOURS["triangular2"]


def test_a_dot_per_task_and_a_line_per_finder():
    rows = pd.DataFrame(
        [
            ["design", "a", "bad", 0, 0.1, 0.5, 0.7],
            ["design", "a", "bad", 1, 0.1, 0.3, 0.5],
            ["again", "b", "bad", 0, 0.1, 1.0, 1.0],
            ["again", "c", "bad", 0, 0.1, 0.4, 0.6],
            ["design", "a", "ours: peak", 0, 0.1, 0.0, 0.02],
            ["judged", "d", "ours: peak", 0, 0.1, 0.0, 0.0],
            ["again", "b", "ours: peak", 0, 0.1, 0.02, 0.04],
        ],
        columns=["part", "task", "finder", "seed", "rate", "constant", "triangle"],
    )
    ax = figures.finders(rows)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["ours: peak", "bad"]
    lines = [line for line in ax.lines if line.get_marker() == "None"]
    assert [line.get_xdata()[0] for line in lines] == pytest.approx([3.0, 75.0])
    dots = {}  # per part
    for line in ax.lines:
        if line.get_marker() == "o":
            dots.setdefault(line.get_fillstyle(), []).extend(line.get_xdata())
    assert dots["full"] == pytest.approx([3.0, 100.0, 50.0])
    assert dots["left"] == [0.0] and dots["none"] == pytest.approx([1.0, 50.0])
