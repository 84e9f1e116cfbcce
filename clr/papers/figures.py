"""The figures of trainings: policies, accuracy against iteration, rates, regret of finders.

Importing this module sets the look of all figures; it begins with seaborn's theme. In a
notebook, figures have twice as many pixels as their size asks for, so that they are
sharp on any screen.

A function draws on the `ax` it is given, or on a new figure, and returns the axes. Each kind of
schedule has one colour in the whole project (`clr.papers.colours`), and up to five lines are
named at their ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from matplotlib_inline.backend_inline import set_matplotlib_formats

from clr.papers import colours
from clr.papers import published as papers
from clr.papers.experiment import Experiment
from clr.papers.sensitivity import Curve
from clr.policies import Policy, Triangular
from clr.runs import Run

INK, PALE = "#333333", "#8a8f98"
sns.set_theme(
    style="whitegrid",
    rc={
        "figure.dpi": 84,
        "font.size": 10,
        "axes.edgecolor": PALE,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid.axis": "y",
        "axes.labelcolor": INK,
        "grid.color": "#e6e8eb",
        "text.color": INK,
        "xtick.bottom": True,
        "xtick.color": INK,
        "ytick.color": INK,
    },
)
if get_ipython() is not None:
    set_matplotlib_formats("retina")
NAMED = 5  # so many lines can be named at their ends


def _styles_of(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict]:
    """The colour and dashes of some runs, by label."""
    return colours.styles({label: each[0].config.policy for label, each in runs.items()})


def _axes(ax):
    return plt.subplots(figsize=(7.6, 3.6), layout="constrained")[1] if ax is None else ax


def _name_lines(ax):
    """Name the lines of the axes at their right ends, or in a legend above if there are many.

    Names that would overlap are moved apart, and follow when the limits of the axes change.
    """
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    if len(lines) > NAMED:
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": 3}
        ax.legend(handles=lines, fontsize="small", frameon=False, **place)
        return
    look = {"va": "center", "fontsize": 9, "transform": ax.transAxes}
    texts = [ax.text(1.01, 0, e.get_label(), color=e.get_color(), **look) for e in lines]

    def place(ax):
        room = 0.155 / (ax.get_position().height * ax.figure.get_figheight())  # a line's height
        to_axes = ax.transData - ax.transAxes
        ends = [to_axes.transform(line.get_xydata()[-1])[1] for line in lines]
        ends, at = np.clip(ends, 0, 1), -np.inf
        for i in np.argsort(ends, kind="stable"):
            at = max(ends[i], at + room)
            texts[i].set_y(at)

    place(ax)
    for limits in ("xlim_changed", "ylim_changed"):
        ax.callbacks.connect(limits, place)


def _over_iterations(ax, ylabel: str, **limits):
    """Name the axes of something that is drawn against the iteration."""
    ax.set(xlabel="iteration", ylabel=ylabel, **limits)
    ax.xaxis.set_major_formatter("{x:,.0f}")


def _seeds(ax, x, values, style: Mapping, **line):
    """The mean of `values` (rows, seeds), in a band from the worst seed to the best."""
    ax.plot(x, values.mean(1), **line, **style)
    if values.shape[1] > 1:
        low, high = values.min(1), values.max(1)
        ax.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)


def policies(policies: Mapping[str, Policy], iterations: int, *, ax=None):
    """The rate of each policy, by label, at iterations 0 to `iterations`."""
    ax = _axes(ax)
    for label, style in colours.styles(policies).items():
        t = np.unique(np.linspace(0, iterations, 4001).astype(int))
        ax.plot(t, policies[label](t), label=label, lw=1.6, **style)
    _over_iterations(ax, "learning rate", ylim=(0, None))
    _name_lines(ax)
    return ax


def anatomy(policy: Triangular):
    """The first two cycles of a triangular policy, labelled with the paper's terms."""
    ax = policies({policy.name: policy}, 2 * policy.period)
    base, top, n = policy.base_lr, policy.max_lr, policy.stepsize
    height, point = top - base, policy.period + n // 2
    ax.set_ylim(base - 0.35 * height, top + 0.15 * height)
    for y, name, side in ((base, "base_lr", -1), (top, "max_lr", 1)):  # outside of the line
        ax.axhline(y, color=PALE, ls=":", lw=1)
        at = {"textcoords": "offset points", "ha": "right", "va": "center"}
        ax.annotate(name, (2 * policy.period, y), (0, 9 * side), **at)
    for end, depth, name in ((n, 0.1, "stepsize"), (policy.period, 0.25, "cycle")):
        y = base - depth * height
        ax.annotate("", (0, y), (end, y), arrowprops={"arrowstyle": "<->", "color": "black"})
        ax.text(end, y, f"  {name}", va="center")
    ax.plot(point, policy(point), "ko")
    note = f"t = {point:,}\ncycle 2, x = {1 - n // 2 / n:.2f}"  # on the way up
    ax.annotate(note, (point, policy(point)), (12, -4), textcoords="offset points", va="top")
    return ax


def histories(
    runs: Mapping[str, Sequence[Run]],
    *,
    ax=None,
    named: bool = True,
    styles: Mapping[str, Mapping] | None = None,
):
    """The test accuracy against iteration, by label: mean over the seeds.

    The band reaches from the worst seed to the best; a seed that stopped early counts
    up to its last row. Labels are left out unless `named`. `styles` are matplotlib's properties
    of the lines, by label; without them, there is one colour per kind of policy. Without runs,
    the axes say "not run".
    """
    ax = _axes(ax)
    styles = _styles_of(runs) if styles is None else styles
    for label, each in runs.items():
        columns = [run.history.set_index("iteration")["test_accuracy"] for run in each]
        table = np.ma.masked_invalid(list(zip_longest(*columns, fillvalue=np.nan)))
        t = max(columns, key=len).index
        _seeds(ax, t, table, styles[label], label=label if named else None, lw=1.8)
    _over_iterations(ax, "test accuracy")
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    if not runs:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center")
    elif named:
        _name_lines(ax)
    return ax


def panels(groups: Mapping[str, Mapping[str, Sequence[Run]]], *, columns: int = 3):
    """`histories` of several groups of arms, one panel per group, on common axes.

    At most `columns` panels stand side by side. A group without runs has a panel that says so.
    The legend, above the panels, has the arms of all groups, and an arm looks the same in each.
    Returns the axes, one per group. ValueError without groups.
    """
    if not groups:
        raise ValueError("groups must hold at least one group of arms; it is empty")
    columns = min(columns, len(groups))
    rows = -(-len(groups) // columns)
    size = {"figsize": (7.6, 0.8 + 2.2 * rows), "layout": "constrained"}
    figure, axes = plt.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, **size)
    used, rest = axes.flat[: len(groups)], axes.flat[len(groups) :]
    every = {label: runs for group in groups.values() for label, runs in group.items()}
    styles = _styles_of(every)
    for i, (ax, (name, runs)) in enumerate(zip(used, groups.items(), strict=True)):
        histories(runs, ax=ax, named=False, styles=styles)
        ax.tick_params(labelbottom=True, labelsize=8)
        ax.locator_params(axis="x", nbins=max(2, 12 // columns))
        ax.set(xlabel="iteration" if i + columns >= len(groups) else "")
        ax.set(ylabel="" if i % columns else "test accuracy")
        ax.set_title(name, fontsize="medium")
    for ax in rest:
        ax.axis("off")
    lines = [Line2D([], [], **style) for style in styles.values()]
    figure.legend(lines, list(styles), loc="outside upper center", ncols=3, frameon=False)
    return used


def bounds(pairs: Mapping[str, tuple[float, float]], *, ax=None):
    """Lower and upper bounds of the rate, above 0, by name, as lines on a logarithmic axis."""
    ax = _axes(ax)
    for y, pair in enumerate(pairs.values()):
        ax.plot(pair, [y, y], "o-", lw=4, color=INK)
        for rate, side, offset in zip(pair, ("right", "left"), (-7, 7), strict=True):
            at = {"xytext": (offset, 0), "textcoords": "offset points"}
            ax.annotate(f"{rate:.2g}", (rate, y), ha=side, va="center", fontsize="small", **at)
    ax.set(xscale="log", yticks=range(len(pairs)), yticklabels=list(pairs))
    ax.set(ylim=(len(pairs) - 0.5, -0.5), xlabel="learning rate")
    ax.margins(x=0.12)
    return ax


def published(experiment: Experiment, runs: Mapping[str, Sequence[Run]], *, ax):
    """Stars where a paper publishes an accuracy of an arm, in the colours of `histories`.

    A star stands at the published number of iterations or, where the paper gives epochs, at the
    end of the arm. Arms without runs have no star.
    """
    star = {"marker": "*", "s": 130, "edgecolor": "black", "zorder": 1.9, "clip_on": False}
    # behind the lines, whose zorder is 2: a star can lie on the end of another arm
    numbers = papers.of(experiment)
    for arm, style in _styles_of(runs).items():
        for row in numbers[numbers.index == arm].itertuples():
            unknown = pd.isna(row.iterations)  # the paper gives epochs
            at = experiment.arms[arm].iterations if unknown else row.iterations
            ax.scatter(at, row.accuracy, color=style["color"], **star)
    ax.legend([ax.scatter([], [], color="white", **star)], ["published"], frameon=False)
    return ax


def rates(runs: Mapping[str, Sequence[Run]], *, ax=None):
    """The rates that were used, by label, as the optimizers held them.

    Dots are the rates read back at each test; the line is the policy.
    """
    ax = _axes(ax)
    for label, style in _styles_of(runs).items():
        run = runs[label][0]
        t = np.unique(np.linspace(0, run.config.iterations, 4001).astype(int))
        ax.plot(t, run.config.policy(t), lw=1, **style)
        ax.plot("iteration", "lr", ".", ms=3, color=style["color"], data=run.history)
    _over_iterations(ax, "learning rate", ylim=(0, None))
    return ax


def sensitivity(curves: Mapping[str, Curve], policies: Mapping[str, Policy], *, ax=None):
    """Final test accuracy against peak rate, by schedule: mean over the seeds.

    The band reaches from the worst seed to the best. `policies` holds a policy of each
    schedule, for its colour. A cross marks the rates at which runs failed (`Curve.failed`). A
    dot marks the rate that the validation accuracy chooses.
    """
    ax = _axes(ax)
    for name, style in colours.styles({name: policies[name] for name in curves}).items():
        curve, color = curves[name], style["color"]
        _seeds(ax, curve.rates, curve.test, style, label=name, lw=2, marker=".", ms=5)
        means = pd.Series(curve.test.mean(1), curve.rates)
        ax.plot(means[np.array(curve.failed) > 0], "x", color=color, ms=7, clip_on=False)
        ax.plot(curve.chosen, means[curve.chosen], "o", color=color, ms=6)
    rates = sorted({rate for curve in curves.values() for rate in curve.rates})
    ax.set_xscale("log", base=2)
    ax.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
    ax.set(xlabel="peak rate", ylabel="test accuracy")
    ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    _name_lines(ax)
    return ax


def finders(rows: pd.DataFrame):
    """The regret of each finder of the rate (`data/finders.csv`): a dot per task.

    A dot is the mean over the schedules and the seeds. It is filled for the tasks on which our
    rule was judged in the end, half filled for those on which it was judged once and then
    mended, and open for those on which it was chosen. A line marks the mean over the filled
    ones, and the finder with the lowest mean comes first.
    """
    schedules = rows.columns[rows.columns.get_loc("rate") + 1 :]
    each = 100 * rows.groupby(["finder", "part", "task"])[list(schedules)].mean().mean(axis=1)
    order = each[:, "again"].groupby("finder").mean().sort_values()
    _, ax = plt.subplots(figsize=(7.2, 1.0 + 0.28 * len(order)), layout="constrained")
    parts = {
        "again": ("full", "judged"),
        "judged": ("left", "judged before, then mended"),
        "design": ("none", "rule chosen on these"),
    }
    for y, (finder, mean) in enumerate(order.items()):
        colour = colours.COLOURS["triangular"][0] if finder.startswith("ours") else PALE
        ax.plot([mean, mean], [y - 0.35, y + 0.35], color=colour, lw=3)
        for part, (fill, label) in parts.items():
            dots = each.loc[finder].get(part, pd.Series(dtype=float))
            style = {"color": colour, "fillstyle": fill, "ms": 5, "clip_on": False, "zorder": 3}
            ax.plot(dots, [y] * len(dots), "o", label="" if y else label, **style)
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlim=(0, 100), xticks=[0, 1, 10, 100], xticklabels=["0", "1", "10", "100"])
    ax.set(xlabel="share of the reachable rise that is lost, %", ylim=(len(order) - 0.5, -0.5))
    ax.set_yticks(range(len(order)), order.index)
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 3}
    ax.legend(fontsize="small", frameon=False, **place)
    return ax
