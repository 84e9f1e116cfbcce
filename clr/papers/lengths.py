"""What it costs not to know the length: losses above a linear fall planned for that length.

    lengths.compare(runs)  # of `clr.papers.again.AGAIN`, by arm

The question is that of somebody who wants a model after several numbers of iterations, or who
doubles the length afterwards (`clr.papers.again.again` describes the arms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from clr.papers import colours, dots
from clr.papers.again import AGAIN, T, tuned
from clr.papers.figures import INK, plt
from clr.papers.verdicts import Summary
from clr.runs import Run

BRANCH, SGDR = "hold, and a branch falls to 0", "SGDR, 1 : 1 : 2"
# By iterations spent in all: ways of training, each with its arm and the iteration at which it
# is read (None: its end).
WAYS: dict[int, dict[str, tuple[str, int | None]]] = {
    T // 4: {BRANCH: ("branch, T/4", None), SGDR: (SGDR, T // 4)},
    T // 2: {BRANCH: ("branch, T/2", None), SGDR: (SGDR, T // 2)},
    3 * T // 4: {BRANCH: ("branch, 3T/4", None)},
    T: {BRANCH: ("branch, T", None), SGDR: (SGDR, None)},
    2 * T: {
        "hold for longer, then fall": ("resumed trunk", None),
        "rise and fall once more": ("re-warmed", None),
        "go on at a tenth of the peak": ("constant at a tenth", None),
    },
}
ARMS = {arm for ways in WAYS.values() for arm, _ in ways.values()}
ROW = 0.31  # inches: the height of a row


def planned(length: int) -> str:
    """The arm of `AGAIN` that is a linear fall planned for this length."""
    return "linear" if length == T else tuned(length)


def lost(runs: Mapping[str, Sequence[Run]]) -> dict[tuple[int, str], Summary]:
    """By iterations spent and way: each run's test loss above the planned fall's mean, in nats.

    `runs` are those of `AGAIN`, by arm. Left out are ways without a run that did not diverge,
    and lengths without such a run of the planned fall.
    """
    found = {}
    for spent, ways in WAYS.items():
        goal = Summary.of(runs.get(planned(spent), ()), column="test_loss")
        for name, (arm, at) in ways.items():
            ends = Summary.of(runs.get(arm, ()), at, "test_loss")
            if goal.accuracies and ends.accuracies:
                above = tuple(each - goal.mean for each in ends.accuracies)
                found[spent, name] = replace(ends, accuracies=above)
    return found


def compare(runs: Mapping[str, Sequence[Run]]) -> Figure:
    """Draw `lost`: a row per way, a dot per run, a bar for the mean.

    `runs` are those of `AGAIN`, by arm. ValueError if there is nothing to show.
    """
    found = lost(runs)
    if not found:
        raise ValueError("runs must hold a way of training and a fall planned for its length")
    size = (7.6, 0.8 + ROW * len(found))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    labels, before = [], None
    for y, ((spent, name), end) in enumerate(found.items()):
        arm, _ = WAYS[spent][name]
        policy, planned_runs = AGAIN.arms[arm].policy, AGAIN.plan(arm)
        dots.row(ax, y, end, planned_runs, AGAIN.measure, colours.colour(policy))
        labels.append(name if spent == before else f"after {spent:,}:  {name}")
        if before not in (None, spent):
            ax.axhline(y - 0.5, color=INK, lw=0.5, ls=":")
        before = spent
    ax.axvline(0, color=INK, lw=1)
    ax.set(ylim=(len(found) - 0.5, -0.5), yticks=range(len(found)))
    ax.set_yticklabels(labels, fontsize=9.5)
    ax.set_xlabel("nats per byte above a linear fall planned for this length")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.12 * (high - low))  # room for the last mean
    ax.grid(axis="x", visible=True)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    return figure
