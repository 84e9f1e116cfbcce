"""What the appendix on running statistics says is what the records say."""

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from made import run, trained

from clr.papers import running_statistics, solvers
from clr.papers import super_convergence as sc
from clr.paths import ROOT
from clr.policies import Fixed
from clr.runs import Store
from clr.training import RunConfig

STORE = Store.committed()
SMALL = sc.SUPERCONVERGENCE_SMALL.most_recorded(STORE)
SIX = solvers.FIGURE6.most_recorded(STORE)
FASTER = ", bn_fraction 0.9"
PAIRS = {
    "one cycle": (SMALL["one cycle"], SMALL["one cycle, the step's statistics"]),
    "step": (SMALL["step, the cycle's statistics"], SMALL["step"]),
    **{arm: (SIX[arm + FASTER], SIX[arm]) for arm in ("fixed", "triangular")},
    "mean": (SIX[f"fixed at the mean{FASTER}"], SIX["fixed at the mean"]),
}
CELLS = nbformat.read(
    ROOT / "notebooks" / "appendix_running_statistics.ipynb", as_version=4
).cells
TEXT = " ".join(" ".join(c.source for c in CELLS if c.cell_type == "markdown").split())


def test_the_second_tests_of_a_run_become_its_tests():
    config = RunConfig(Fixed(0.1), 40, model="resnet8", second_bn_fraction=0.999, test_every=10)
    one = trained(None, config)
    one.columns["second_test_accuracy"][:] = 0.25
    two = running_statistics.second(one)
    assert (two.history["test_accuracy"] == 0.25).all() and two.config == one.config
    assert list(two.history["train_loss"]) == list(one.history["train_loss"])
    with pytest.raises(KeyError):
        running_statistics.second(run([0.1, 0.2]))


def test_one_training_has_one_colour_and_different_dashes():
    lines = running_statistics.histories({"a": [run([0.1, 0.5])], "b": [run([0.1, 0.4])]}).lines
    assert len({line.get_color() for line in lines}) == 1
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    plt.close("all")


def test_pairs_are_runs_with_the_same_seed():
    fast = [run([0.1, 0.5 + s / 100], seed=s) for s in (0, 1, 2)]
    slow = [run([0.1, 0.4 + s / 50], seed=s) for s in (2, 1)]
    (row,) = running_statistics.tested_twice({"x": (fast, slow)}).to_dict("records")
    assert (row["n"], row["fast, %"], row["slow, %"], row["difference"]) == (
        2, "51.5", "43.0", "+8.5",
    )  # fmt: skip


def test_what_is_said_of_resnet20_is_in_the_records():
    cycle = sc.SUPERCONVERGENCE_SHORT.most_recorded(STORE)["one cycle"]
    pair = cycle, [running_statistics.second(one) for one in cycle]
    (row,) = running_statistics.tested_twice({"x": pair}).to_dict("records")
    fast, slow = row["fast, %"], row["slow, %"]
    assert f"ends at {fast} % with the fast average and at {slow} % with the slow one" in TEXT
    assert f"Our run of one cycle with ResNet-20, of {row['our iterations']} iterations" in TEXT
    assert (row["n"], row["interval"]) == (1, "–")
    chapter = (ROOT / "notebooks" / "04_super_convergence.ipynb").read_text()
    assert (
        f"by {row['difference'][1:]} points in our run of one cycle with ResNet-20" in chapter
    )


def test_the_sentences_about_the_pairs_are_in_the_records():
    table = running_statistics.tested_twice(PAIRS)
    gap = table["difference"].astype(float)
    assert set(table["n"]) == {3} and "Three pairs per row" in TEXT
    assert round(gap["one cycle"]) == 15 and round(gap["step"]) == 2
    assert all(4.5 <= gap[arm] < 7.5 for arm in ("fixed", "triangular", "mean"))
    ends = {a: [float(x) for x in t.split(" to ")] for a, t in table["interval"].items()}
    assert [round(each) for each in ends["one cycle"]] == [4, 26]
    assert [a for a, (low, high) in ends.items() if low < 0 < high] == ["mean"]


def test_the_steps_differ_most_at_iteration_1000():
    fast, slow = (
        np.mean([each.history["test_accuracy"] for each in runs], axis=0)
        for runs in PAIRS["step"]
    )
    worst = np.argmax(fast - slow)
    assert SMALL["step"][0].history["iteration"][worst] == 1000
    assert round(100 * (fast - slow)[worst]) == 30


def test_the_verdict_on_figure_6_follows_the_average():
    found = running_statistics.claims(STORE)
    assert [row["verdict"] for row in found["Figure 6"]] == ["undecided", "not worse"]
    assert [row["verdict"] for row in found["Figure 1a, ResNet-8"]] == ["worse", "worse"]
    assert "is undecided with 0.999, and holds with 0.9" in TEXT
    for place in ("Figure 1a, ResNet-56", "Figure 1a, ResNet-20"):
        said = [running_statistics.sentence(row) for row in found[place]]
        assert len(said) == len(set(said)) == 3
