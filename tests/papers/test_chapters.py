import re
from dataclasses import replace

import numpy as np
import pytest
from made import trained

from clr.papers import EXPERIMENTS, chapters
from clr.paths import ROOT
from clr.runs import Store

RECORDS = chapters.Records()


def test_each_notebook_is_a_chapter():
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("[0-9a]*.ipynb")}
    assert notebooks == {each.notebook for each in chapters.CHAPTERS}


@pytest.mark.parametrize("chapter", chapters.CHAPTERS, ids=lambda each: each.notebook)
def test_a_box_has_three_lines_of_whole_sentences(chapter):
    box = chapters.Box(chapter.notebook, RECORDS)
    lines = repr(box).split("\n")
    assert [line.split(":")[0] for line in lines] == ["Question", "What we found", "How sure"]
    assert all(re.search(r"[.?]$", line) and "nan" not in line for line in lines)
    assert chapter.question in box._repr_markdown_()


def test_without_records_no_chapter_claims_a_result(tmp_path):
    empty = chapters.Records(Store(tmp_path))
    found = {c.notebook: c.found(empty) for c in chapters.CHAPTERS if c.notebook[:2] in NEED}
    assert all(re.search("not run|no run|undecided", said, re.I) for said in found.values())
    assert not re.search(r"\d\.\d+ ", " ".join(found.values()))


NEED = "03", "04", "07"  # chapters whose answer is a verdict


class OneRunEach:
    """A store with one made-up run of some arms of `superconvergence_short`."""

    def __init__(self, arms):
        self.runs = {}
        for arm, accuracy in arms.items():
            one = trained(self, EXPERIMENTS["superconvergence_short"].config(arm))
            ends = np.full(len(one.columns["iteration"]), accuracy)
            made = replace(one, columns=one.columns | {"test_accuracy": ends})
            self.runs[one.config] = made

    def by_data(self, config):
        return {"cifar10": self.runs[config]} if config in self.runs else {}


@pytest.mark.parametrize(
    ("arms", "found", "sure"),
    [
        (
            {"one cycle": 0.7},
            "In 2,000 iterations of ResNet-20, one cycle reaches 70.0 %. On MNIST",
            "1 run of 3 planned, at a fifth",
        ),
        (
            {"step, squeezed": 0.8, "cosine": 0.9, "one cycle": 0.7},
            "In 2,000 iterations of ResNet-20, one cycle reaches 70.0 %, a step schedule "
            "80.0 % and a cosine 90.0 %. On MNIST",
            "1 run of 3 planned per row",
        ),
        (
            {"one cycle": 0.7, "step": 0.8, "cosine": 0.9},
            "Undecided, with ResNet-20: one cycle reaches 70.0 %, and a step schedule that is "
            "eight times as long 80.0 %.",
            "1 run of 3 planned per row",
        ),
    ],
)
def test_chapter_4_says_what_is_there_of_figure_1a(arms, found, sure):
    records = chapters.Records(OneRunEach(arms))
    chapter = chapters.chapter("04_super_convergence")
    assert found in chapter.found(records)
    assert chapter.sure(records).startswith(sure)


def test_solvers_that_were_run_again_are_answered_by_the_later_runs(monkeypatch):
    third = "AdaGrad, triangular (4,000) is not worse than"
    rows = {
        "solvers": [
            {"claim": f"{third} x", "verdict": "undecided", "holds": None, "n": [3, 3]}
        ],
        "solvers_again": [{"claim": f"{third} x", "verdict": "worse", "holds": False}],
    }
    records = chapters.Records()
    monkeypatch.setattr(records, "judged", rows.get)
    for n, answer in (5, "Undecided"), (6, "No"):
        rows["solvers_again"][0]["n"] = [6, n]
        assert chapters._of_solver(records, third) == answer


def test_the_answer_of_chapter_3_follows_its_verdict():
    third = RECORDS.row("table1", "triangular2 (25,000) is not worse than fixed (70,000)")
    said = chapters.chapter("03_cifar10_policies").found(RECORDS)
    assert said.startswith({True: "Yes", False: "No", None: "Undecided"}[third["holds"]])
    assert RECORDS.percent("table1", "triangular2") in said


def test_what_chapter_6_says_without_computing_it_is_in_the_records():
    """Ends at 0 are above a constant rate, and the best one holds and falls."""
    runs = RECORDS.runs("at_chosen_rates")
    means = {arm: chapters.Summary.of(each).mean for arm, each in runs.items()}
    ends = "linear to 0", "cosine to 0", "two cycles, to 0", "constant, then linear"
    assert max(means, key=means.get) == "constant, then linear"
    assert all(means[arm] > means["constant"] + 0.03 for arm in ends)


def test_schedules_that_rise_to_0_016_reach_more_as_readme_says():
    cycles, risen, others = (
        [curve.test[-1].mean() for curve in curves] for curves in RECORDS.over_rates()
    )
    assert (len(cycles), len(risen), len(others)) == (3, 3, 5)
    assert min(cycles + risen) > max(others)


def test_an_unknown_notebook_or_claim_is_a_key_error():
    with pytest.raises(KeyError):
        chapters.Box("08_more")
    with pytest.raises(KeyError, match="no claim"):
        RECORDS.row("table1", "cycles win")
