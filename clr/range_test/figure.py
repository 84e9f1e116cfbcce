"""The figure of a range test: accuracy or loss against the rate, and the bounds read off it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clr.range_test.bounds import Bounds, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clr.range_test.run import RangeTest

CURVE, LOWEST, HIGHEST = "#017a9c", "black", "#d55e00"


def draw(test: RangeTest, bounds: Bounds | None, ax: Axes | None) -> Axes:
    """The figure that `RangeTest.plot` describes."""
    import matplotlib.pyplot as plt  # here: its import takes half a second per process

    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    colour = CURVE
    of_loss = bounds is not None and bounds.method.startswith("loss")
    watched = "train_loss" if of_loss else test.watched
    table = test.column(watched).dropna(how="all")
    ax.plot(table.index, table, color=colour, lw=0.8, alpha=0.6)
    # without the last rows of the seeds that diverged
    grid = table[table[table.count().idxmax()].notna()]
    median, label = grid.median(axis=1), f"median (n = {table.shape[1]})"
    if bounds is not None:
        median, label = pd.Series(smoothed(median), median.index), f"{label}, smoothed"
    ax.plot(median.index, median, color=colour, lw=2.5, label=label)
    gone = [table[i].dropna() for i, end in enumerate(test.ended) if end != "finished"]
    if last := [(each.index[-1], each.iloc[-1]) for each in gone if len(each)]:
        said = f"diverged: {len(last)} of {len(test.ended)}"
        ax.plot(*zip(*last, strict=True), "x", color=HIGHEST, ms=8, mew=2, label=said)
    ax.set(xlabel="learning rate", ylabel=watched.replace("_", " "))
    ax.locator_params(axis="x", nbins=6)  # so that the numbers do not touch
    bottom = ax.get_ylim()[0]
    if bounds is not None:
        _mark(ax, bounds, median, bottom)
    ax.set_ylim(bottom=bottom)
    ax.legend(
        fontsize="small",
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),  # above the axes, where it covers no curve
        ncols=min(3, len(ax.get_legend_handles_labels()[0])),
    )
    return ax


def _mark(ax: Axes, bounds: Bounds, median: pd.Series, bottom: float) -> None:
    """Mark each bound: a point on the median, a line down from it, and a tick per seed."""
    styles = {"base_lr": (":", LOWEST), "max_lr": ("--", HIGHEST)}
    for i, (name, (dashes, colour)) in enumerate(styles.items()):
        value = getattr(bounds, name)
        if value is not None:
            height = float(np.interp(value, median.index, median))
            text = f"{name} {value:.2g}"
            ax.plot([value, value], [bottom, height], color=colour, ls=dashes, label=text)
            ax.plot(value, height, "o", color=colour, ms=5)
        seeds = [rate for each in bounds.seeds if (rate := each[i]) is not None]
        ax.plot(seeds, [bottom] * len(seeds), "|", color=colour, ms=10, clip_on=False)
