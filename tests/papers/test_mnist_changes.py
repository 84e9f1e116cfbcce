"""What notebooks 4 and 7 say about MNIST is what its records say."""

import nbformat
import pytest

from clr.papers import published, verdicts
from clr.papers import super_convergence as sc
from clr.papers.verdicts import Summary
from clr.paths import ROOT
from clr.runs import Store

RUNS = sc.MNIST_CHANGES.recorded(Store.committed())
CHANGES = [claim.arm for claim in sc.MNIST_CHANGES.claims]
MEANS = {arm: 100 * Summary.of(RUNS[arm]).mean for arm in ("1cycle, 12 epochs", *CHANGES)}
PAPER = 100 * published.of(sc.MNIST).loc["1cycle, 12 epochs", "accuracy"]


def test_every_change_has_four_runs_and_none_reaches_the_paper():
    assert len(CHANGES) == 5 and {len(RUNS[arm]) for arm in MEANS} == {4}
    assert max(MEANS.values()) < PAPER - 0.05


def test_with_25_and_50_epochs_1cycle_is_a_tenth_of_a_point_ahead():
    runs = sc.MNIST.recorded(Store.committed())
    table = verdicts.table(sc.MNIST, runs)
    for n, lead in ((25, "+0.09"), (50, "+0.11")):
        (row,) = [r for claim, r in table.iterrows() if claim.startswith(f"1cycle, {n} epochs")]
        assert (row["verdict"], row["Holm"]) == ("better", "no")
        assert row["difference"].startswith(lead) and row["published"].endswith("(outside)")


def test_one_of_four_runs_of_85_epochs_diverged():
    runs = RUNS["1cycle, 85 epochs"]
    assert (sum(run.diverged for run in runs), len(runs)) == (1, 4)
    for name in ("04_super_convergence", "07_scoreboard"):
        cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
        text = " ".join(" ".join(cell.source for cell in cells).split())
        assert "one of four runs diverged" in text


def test_no_run_with_half_the_rates_diverged():
    arms = {arm: RUNS[f"1cycle, 85 epochs{arm}"] for arm in ("", ", half the rates")}
    means = [100 * Summary.of(runs).mean for runs in arms.values()]
    assert len(arms[", half the rates"]) == 4
    assert not any(run.diverged for run in arms[", half the rates"])
    assert [round(each, 2) for each in means] == [99.17, 99.15]


def test_three_runs_that_fall_once_are_ahead_and_one_diverged_at_its_start():
    runs = sc.MNIST_ENDS.recorded(Store.committed())
    fall, cycle = runs["falls once, 25 epochs"], runs["1cycle, 25 epochs"]
    assert [run.ended for run in fall if run.diverged] == ["diverged at iteration 22"]
    assert fall[0].config.policy(22) == pytest.approx(0.099, abs=0.0005)
    ends = sorted(round(100 * run.final_accuracy, 2) for run in fall if not run.diverged)
    assert len(fall) == len(cycle) == 4 and (ends[0], ends[-1]) == (99.15, 99.18)
    ends = sorted(round(100 * run.final_accuracy, 2) for run in cycle)
    assert (ends[0], ends[-1]) == (99.07, 99.15)
    inv = max(run.final_accuracy for run in runs["inv"])
    assert all(run.final_accuracy > inv for run in fall if not run.diverged)
    assert list(verdicts.table(sc.MNIST_ENDS, runs)["verdict"]) == ["worse", "undecided"]


def test_nesterov_is_lower_and_the_others_are_undecided():
    table = verdicts.table(sc.MNIST_CHANGES, RUNS)["verdict"]
    said = {arm: table[f"{arm} is better than 1cycle, 12 epochs"] for arm in CHANGES}
    assert said.pop("Nesterov") == "worse" and set(said.values()) == {"undecided"}
