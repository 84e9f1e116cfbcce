import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest

from clr.papers import forest

ROW = {
    "claim": "a is better than b",
    "statement": "",
    "arm": "a",
    "experiment": "table1",
    "relation": "better than",
    "margin": 0.005,
    "measure": "accuracy",
    "points": "",
    "holm": "yes",
    "verdict": "better",
    "holds": True,
    "difference": 0.02,
    "low": 0.01,
    "high": 0.03,
    "published_difference": None,
}
NONE = {"difference": None, "low": None, "high": None}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def drawn(ax):
    """The lines of the axes, without the one at 0."""
    return [line for line in ax.lines if len(set(line.get_ydata())) == 1]


def test_a_claim_is_a_dot_and_an_interval_with_its_verdict_in_words():
    ax = forest.claims([ROW | {"published_difference": 0.04}])
    star, interval, dot = drawn(ax)
    assert star.get_marker() == "*" and star.get_xdata() == pytest.approx([4])
    assert interval.get_xdata() == pytest.approx([1, 3])
    assert dot.get_xdata() == pytest.approx([2]) and dot.get_marker() == "o"
    assert interval.get_color() == dot.get_color() == dot.get_markerfacecolor() == forest.YES
    assert [text.get_text() for text in ax.texts] == ["✓ better"]
    ground = ax.patches[0]  # "better than" holds from 0 to the edge
    assert ground.get_x() == 0 and ground.get_width() == pytest.approx(ax.get_xlim()[1])


def test_all_rows_have_one_scale_and_one_zero():
    small = ROW | {"difference": 0.0002, "low": 0.0, "high": 0.0004, "experiment": "tenth"}
    ax = forest.claims([ROW, small])
    assert plt.gcf().axes == [ax]
    assert ax.get_xlim()[0] < -0.5 and ax.get_xlim()[1] > 3


def test_what_does_not_survive_holm_has_a_mark_of_its_own():
    ax = forest.claims([ROW | {"holm": "no"}])
    dot = drawn(ax)[-1]
    assert dot.get_markerfacecolor() == "white"
    assert [text.get_text() for text in ax.texts] == ["✓ better*"]
    (legend,) = ax.figure.legends
    assert "Holm" in " ".join(text.get_text() for text in legend.texts)


def test_what_is_not_run_is_left_out_and_diverged_runs_are_counted():
    gone = ROW | NONE | {"verdict": "worse", "holds": False, "points": "1 of 3 diverged"}
    ax = forest.claims([gone, ROW | NONE | {"verdict": "not run", "holds": None}])
    assert len(ax.get_yticklabels()) == 1
    assert [text.get_text() for text in ax.texts] == ["✗ worse", "1 of 3 diverged"]
    (text,) = forest.claims([]).texts
    assert text.get_text() == "not run"


def test_losses_are_in_nats_and_less_is_better():
    row = ROW | {"relation": "not worse than", "measure": "loss", "margin": 0.02}
    row |= {"difference": -0.1, "low": -0.15, "high": -0.05, "verdict": "not worse"}
    ax = forest.claims([row])
    interval, dot = drawn(ax)
    assert interval.get_xdata() == pytest.approx([-0.15, -0.05])
    assert dot.get_xdata() == pytest.approx([-0.1])
    ground = ax.patches[0]  # from the edge up to the margin above 0
    assert ground.get_x() + ground.get_width() == pytest.approx(0.02) and ground.get_x() < -0.15
    assert "nats" in ax.get_xlabel()
    with pytest.raises(ValueError, match="rows"):
        forest.claims([ROW, row])


def test_rows_are_sentences_and_alike_ones_are_told_apart():
    paper = ROW | {"statement": "Cycles help"}
    assert forest.sentences([ROW, paper]) == ["a is better than b", "Cycles help"]
    other = paper | {"arm": "c"}
    assert forest.sentences([paper, other]) == ["Cycles help (a)", "Cycles help (c)"]
    tenth = paper | {"experiment": "tenth"}
    assert forest.sentences([paper, tenth]) == ["Cycles help (table1)", "Cycles help (tenth)"]
    three = forest.sentences([paper, other, tenth])
    assert three[0] == "Cycles help (table1, a)" and len(set(three)) == 3


def test_the_rule_is_a_picture_with_the_words_of_the_relation():
    ax = forest.rule()
    words = [text.get_text() for text in ax.texts][:4]
    assert words == ["✓ better", "✗ gain below the margin", "? undecided", "✗ worse"]


def test_numbers_are_differences_to_the_published():
    row = {"place": "CLR Table 1", "policy": "fixed", "setting": "x", "theirs": "81.4"}
    row |= {"accuracy": 0.814, "n": 3, "diverged": 0}
    ran = row | {"mean": 0.802, "sd": 0.01}
    gone = row | {"mean": 0.8, "sd": None, "diverged": 2}
    ax = forest.numbers([ran, row | {"mean": None, "sd": None}, gone])
    assert ax.containers[0].lines[0].get_xdata() == pytest.approx([-1.2])
    names = [text.get_text().replace("\n", " ") for text in ax.get_yticklabels()]
    assert names == ["CLR Table 1: fixed, x (81.4 %)"] * 2
    assert [text.get_text().strip() for text in ax.texts] == ["2 of 3 runs diverged"]


def test_panels_have_a_scale_each_and_leave_out_what_is_not_run():
    losses = ROW | {"measure": "loss", "margin": 0.02, "low": -0.03, "high": -0.01}
    missing = ROW | NONE | {"verdict": "not run", "holds": None}
    groups = {"images": [ROW, missing], "text": [losses], "later": [missing]}
    axes = forest.panels(groups, lambda row: row["measure"])
    assert list(axes) == ["images", "text"]
    assert [ax.get_title(loc="left") for ax in axes.values()] == ["images", "text"]
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in axes.values()]
    assert names == [["accuracy"], ["loss"]]
    assert "nats" in axes["text"].get_xlabel() and "points" in axes["images"].get_xlabel()
    (ax,) = forest.panels({"later": [missing]}, lambda row: "").values()
    assert [text.get_text() for text in ax.texts] == ["not run"]
