"""The figure of lengths that were not planned: what is read where, and above which fall."""

import matplotlib.pyplot as plt
import nbformat
import pytest
from made import run

from clr.papers import lengths
from clr.papers.again import AGAIN, T
from clr.paths import ROOT
from clr.runs import Store

SPENT = {  # iterations of an arm that are not its own: other branches, or a fall that is lost
    "branch, T/2": T // 4 // 5,
    "branch, 3T/4": T // 4 // 5 + 360 // 5,
    "branch, T": T // 4 // 5 + 360 // 5,
    "resumed trunk": T // 5,
}


def ending_at(*losses, at=None):
    """Runs of 800 iterations with these losses at their end, or at iteration `at`."""
    n = T // 10
    return [
        run(
            [0.1] * (n + 1),
            losses=[each if i == (at or T) // 10 else 9.0 for i in range(n + 1)],
        )
        for each in losses
    ]


def test_an_arm_is_read_after_as_many_iterations_as_the_fall_has():
    for spent, ways in lengths.WAYS.items():
        assert AGAIN.arms[lengths.planned(spent)].iterations == spent
        for arm, at in ways.values():
            assert (at or AGAIN.arms[arm].iterations + SPENT.get(arm, 0)) == spent


def test_a_loss_is_counted_from_the_mean_of_the_planned_fall():
    runs = {
        "linear": ending_at(1.4, 1.6),
        "branch, T": ending_at(1.7, 1.9),
        "linear, 400 iterations": ending_at(2.0),
        "SGDR, 1 : 1 : 2": ending_at(2.5, at=T // 2),
        "re-warmed": ending_at(1.0),  # its planned fall is not run
    }
    found = {key: end.accuracies for key, end in lengths.lost(runs).items()}
    assert found == {
        (400, lengths.SGDR): pytest.approx((0.5,)),
        (800, lengths.BRANCH): pytest.approx((0.2, 0.4)),
        (800, lengths.SGDR): pytest.approx((7.5,)),
    }


def test_a_row_has_a_dot_per_run_and_its_mean():
    runs = {"linear": ending_at(1.5), "branch, T": ending_at(1.7, 1.9)}
    (ax,) = lengths.compare(runs).axes
    assert [each.get_text() for each in ax.get_yticklabels()] == [
        f"after 800:  {lengths.BRANCH}"
    ]
    assert ax.collections[0].get_offsets()[:, 0].tolist() == pytest.approx([0.2, 0.4])
    assert [each.get_text() for each in ax.texts] == ["0.300 (2 of 5 runs)"]
    plt.close("all")


def test_without_a_length_it_says_what_is_missing():
    with pytest.raises(ValueError, match="a fall planned for its length"):
        lengths.compare({"branch, T": ending_at(1.7)})


def test_what_notebook_6_says_of_lengths_is_in_the_records():
    cells = nbformat.read(ROOT / "notebooks" / "06_worth_it.ipynb", as_version=4).cells
    text = " ".join(" ".join(c.source for c in cells if c.cell_type == "markdown").split())
    found = lengths.lost(AGAIN.most_recorded(Store.committed()))
    mean = {key: end.mean for key, end in found.items()}
    gains = [mean[n, lengths.SGDR] - mean[n, lengths.BRANCH] for n in (T // 4, T // 2, T)]
    assert f"by {min(gains):.2f} to {max(gains):.2f} nats at three moments" in text
    planned = [mean[n, lengths.BRANCH] for n in (T // 2, 3 * T // 4, T)]
    assert f"is better by another {min(planned):.2f} to {max(planned):.2f}" in text
    held, risen, tenth = (mean[2 * T, name] for name in lengths.WAYS[2 * T])
    assert min(held, risen, tenth) > 0
    assert "all three ways end above a fall planned for it" in text
    assert f"holding the rate for longer by {held:.2f} nats" in text
    assert (
        f"a second rise and fall by {risen:.2f}, and a tenth of the peak rate by {tenth:.2f}"
        in text
    )
