import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made import run
from matplotlib.colors import to_hex

from clr.papers import colours, figures
from clr.papers.cyclical import TABLE1
from clr.papers.sensitivity import Curve
from clr.papers.super_convergence import MNIST
from clr.policies import Decay, Fixed, Policy, Triangular, Triangular2, hann


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


class Late(Policy, name="late"):
    """A policy as a user would write one."""

    def _values(self, t):
        return t / 1000


def test_lines_have_the_colours_of_their_schedules():
    drawn = {
        "late": Late(),
        "triangular": Triangular(0, 1, 5),
        "cosine": Decay(0, 1, 5, wave=hann),
    }
    found = [line.get_color() for line in figures.policies(drawn, 10).lines]
    assert found == [colours.colour(policy) for policy in drawn.values()]


def test_policies_are_drawn_as_they_are():
    policy = Triangular(0.001, 0.006, 100)
    ax = figures.policies({"triangular": policy, "fixed": Fixed(0.002)}, 400)
    t, lr = ax.lines[0].get_data()
    assert np.array_equal(lr, policy(t.astype(int))) and t[0] == 0 and t[-1] == 400
    assert [text.get_text() for text in ax.texts] == ["triangular", "fixed"]
    assert ax.get_legend() is None


def test_more_than_five_lines_have_a_legend():
    ax = figures.policies({f"{i}": Fixed(i) for i in range(1, 7)}, 10)
    assert [text.get_text() for text in ax.get_legend().texts] == list("123456")
    assert not ax.texts


def test_names_at_the_ends_do_not_overlap_and_follow_the_limits():
    ax = figures.policies({"a": Fixed(0.1), "b": Fixed(0.101), "c": Fixed(0.5)}, 10)
    a, b, c = (text.get_position()[1] for text in ax.texts)
    gap = (b - a) * ax.get_position().height * ax.figure.get_figheight() * 72
    assert gap >= 9 and c > b  # the size of the letters, in points
    ax.set_ylim(0.0995, 0.102)  # c is above the figure
    a, b, c = (text.get_position()[1] for text in ax.texts)
    assert a == pytest.approx(0.2) and b == pytest.approx(0.6) and c == 1


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
    assert [text.get_text() for text in ax.texts] == ["fixed"]
    assert ax.yaxis.get_major_formatter()(0.5) == "50 %"
    assert ax.xaxis.get_major_formatter()(70_000) == "70,000"


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
    ax = figures.bounds(pairs)
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.001, 0.006], [0.01, 0.1]]
    assert [text.get_text() for text in ax.texts] == ["0.001", "0.006", "0.01", "0.1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_xscale() == "log"


def test_published_are_stars_in_the_colour_of_the_arm():
    runs = {"triangular2": [run([0.1, 0.5], Triangular2(0.1, 0.2, 5))]}
    ax = figures.published(TABLE1, runs, ax=figures.histories(runs))
    drawn = [each for each in ax.collections if len(each.get_offsets())]
    stars = {tuple(each.get_offsets()[0]): each.get_facecolor()[0] for each in drawn}
    assert list(stars) == [(25_000, 0.814)]  # the other arms have no runs here
    assert to_hex(stars[25_000, 0.814]) == colours.COLOURS["triangular2"][0]
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


def test_a_sensitivity_curve_marks_the_chosen_rate_and_the_failed_runs():
    rates, accuracies = (0.001, 0.002, 0.004), np.array([[0.5, 0.6], [0.7, 0.7], [0.1, 0.1]])
    curve = Curve(rates, accuracies, accuracies, failed=(0, 0, 2))
    ax = figures.sensitivity({"cosine": curve}, {"cosine": Decay(0, 0.1, 10, wave=hann)})
    mean, gone, chosen = ax.lines
    assert mean.get_xydata().tolist() == [[0.001, 0.55], [0.002, 0.7], [0.004, 0.1]]
    assert gone.get_xydata().tolist() == [[0.004, 0.1]] and gone.get_marker() == "x"
    assert chosen.get_xydata().tolist() == [[0.002, 0.7]]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.1 and [0.001, 0.6] in band.tolist()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.001", "0.002", "0.004"]
    assert ax.get_xscale() == "log"


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
