"""What notebook 4 says about one large cycle is what the logs and the records say."""

import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from made import trained

from clr.papers import forest, one_cycle, published, verdicts
from clr.papers import super_convergence as sc
from clr.papers.experiment import Experiment
from clr.papers.verdicts import Summary
from clr.paths import ROOT
from clr.runs import Store

STORE = Store.committed()
SHORT = sc.SUPERCONVERGENCE_SHORT
CELLS = nbformat.read(ROOT / "notebooks" / "04_super_convergence.ipynb", as_version=4).cells
TEXT = " ".join(" ".join(c.source for c in CELLS if c.cell_type == "markdown").split())
CURVES = pd.read_csv(ROOT / "data" / "author_curves.csv").set_index("log")
LOGS = pd.read_csv(ROOT / "data" / "author_results.csv").set_index("log")


def made_up(experiment, arms, seeds=None):
    return {
        arm: [trained(None, config) for config in configs[:seeds]]
        for arm, configs in experiment.configs().items()
        if arm in arms
    }


@pytest.fixture
def recorded(monkeypatch):
    """A function that lets an experiment have made-up runs, and no other one any."""
    there = {}
    monkeypatch.setattr(
        Experiment, "most_recorded", lambda self, store: there.get(self.name, {})
    )
    return lambda experiment, *arms: there.update({experiment.name: made_up(experiment, arms)})


def test_the_best_protocol_is_the_papers_own_unless_the_short_one_has_more(recorded):
    assert one_cycle.best(STORE)[1] == {}
    recorded(SHORT, "one cycle", "step", "cosine")
    assert one_cycle.best(STORE)[0] is SHORT
    recorded(sc.SUPERCONVERGENCE, "one cycle")
    assert one_cycle.best(STORE)[0] is SHORT
    recorded(sc.SUPERCONVERGENCE, "one cycle", "step")
    chosen, runs = one_cycle.best(STORE)
    assert chosen is sc.SUPERCONVERGENCE and set(runs) == {"one cycle", "step"}


def test_our_runs_join_the_figure_and_the_table_as_soon_as_they_are_there():
    none, cycle = {}, made_up(SHORT, ["one cycle"])
    both = made_up(SHORT, ["one cycle", "step"])
    for runs, panels, rows in ((none, 1, 4), (cycle, 2, 4), (both, 2, 5)):
        assert len(one_cycle.figure1a(SHORT, runs)) == panels
        table = one_cycle.compared(SHORT, runs)
        assert len(table) == rows and not table.isna().any(axis=None)
    ends = [100 * Summary.of(both[arm]).mean for arm in one_cycle.LOGS]
    assert np.allclose(table.loc["our runs, ResNet-20"].iloc[:2], ends, atol=0.05)
    plt.close("all")


def test_the_table_of_others_has_their_numbers_and_their_sign():
    table = one_cycle.compared(SHORT, {})
    assert list(table.index[:2]) == ["the paper", "the author's logs"]
    assert (table["difference"] > 0).all()
    assert (
        "In the rows of the paper, of his logs and of both repositories, the cycle ends" in TEXT
    )
    paper = 100 * published.of(sc.SUPERCONVERGENCE)["accuracy"]
    for arm in one_cycle.LOGS:
        assert table.loc["the paper", f"{arm}, %"] == pytest.approx(paper[arm])
        assert f"{paper[arm]:.1f} %" in TEXT


def test_every_claim_about_one_cycle_has_a_sentence_of_its_own():
    for experiment in (sc.SUPERCONVERGENCE, SHORT):
        rows = [
            row
            for row in verdicts.judge(experiment, {})
            if "running statistics" not in row["claim"]
        ]
        said = [one_cycle.sentence(row) for row in rows]
        assert len(set(said)) == len(said) and not {row["claim"] for row in rows} & set(said)
    other = {"experiment": "mnist", "arm": "a", "other": "b", "claim": "a is b"}
    assert one_cycle.sentence(other) == "a is b"
    assert one_cycle.sentence(other | {"experiment": "mnist_again"}) == "a is b (new seeds)"


def test_the_verdicts_are_drawn_with_and_without_runs():
    mnist = verdicts.judge(sc.MNIST, sc.MNIST.recorded(STORE))
    row = [row for row in mnist if row["arm"] == "1cycle, 25 epochs"]
    for runs, panels in (({}, 1), (made_up(SHORT, SHORT.arms), 2)):
        groups = {"short": verdicts.judge(SHORT, runs), "MNIST": row}
        assert len(forest.panels(groups, one_cycle.sentence)) == panels
    plt.close("all")


def test_the_figures_of_the_logs_and_of_mnist_show_what_is_there():
    assert len(one_cycle.range_tests()) == 3
    ax = one_cycle.mnist(sc.MNIST.recorded(STORE))
    assert [text.get_text() for text in ax.texts] == ["1 of 4 diverged"]
    plt.close("all")


def between(log, first, last):
    curve = CURVES.loc[log]
    part = curve[(curve["iteration"] >= first) & (curve["iteration"] <= last)]
    return part["test_accuracy"]


def test_what_is_said_about_the_authors_logs():
    swing = between("clr3SS5kFig1a", 2000, 8000)
    assert "between 58 and 82 % from iteration 2,000 to 8,000" in TEXT
    assert [round(100 * swing.min()), round(100 * swing.max())] == [58, 82]
    for name in one_cycle.RANGES.values():
        curve = CURVES.loc[f"range3Iter{name}Fig2b"]
        high = curve.loc[curve["lr"] >= 0.25, "test_accuracy"]
        assert high.between(0.54, 0.87).all()
    assert "stays between 54 and 87 % in all three" in TEXT
    paper = published.of(sc.SUPERCONVERGENCE)["accuracy"]
    ends = {arm: LOGS.loc[log, "final_accuracy"] for arm, log in one_cycle.LOGS.items()}
    assert abs(ends["one cycle"] - paper["one cycle"]) < 0.001
    assert 0.005 < paper["step"] - ends["step"] < 0.012  # 'about a point lower'
    strong = LOGS[LOGS["weight_decay"] == 0.001].loc[
        lambda rows: rows.index.str.contains("SS5k")
    ]
    assert list(strong["best_iteration"]) == [800] and strong["final_accuracy"].item() < 0.11


def test_what_the_details_say_about_three_epochs_is_in_the_records():
    runs = sc.SUPERCONVERGENCE_SMALL.most_recorded(STORE)
    ends = {arm: 100 * Summary.of(each).mean for arm, each in runs.items()}
    (said,) = re.findall(r"\*\*Three epochs\.\*\* (.*?) \* \*\*", TEXT)
    cycle = ends["one cycle"]
    assert f"It ends at {cycle:.1f} %" in said and f"at {ends['step']:.1f} %" in said
    for number in (
        cycle - ends["one cycle, up to 0.35"],
        ends["one cycle, down to 0"] - ends["cosine"],
        cycle - ends["1cycle"],
    ):
        assert f"{number:.1f} points" in said
