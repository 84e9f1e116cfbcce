"""The figures: policies, accuracy against iteration, claims. One colour per kind of policy.

Importing this module sets seaborn's theme, so that all figures look alike.

A function draws on the `ax` it is given, or on a new figure, and returns the axes.
"""

from __future__ import annotations

import colorsys
import hashlib
import os
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from clr import checks
from clr.papers import published as papers
from clr.papers.experiment import HOLDS, RELATIONS, Experiment
from clr.papers.sensitivity import Curve
from clr.policies import (
    WAVES,
    Decay,
    ExpRange,
    ExpRangeAmplitude,
    Policy,
    Stages,
    Triangular,
    Triangular2,
    hann,
)
from clr.runs import Run

sns.set_theme(style="whitegrid", rc={"figure.dpi": 84, "font.size": 10})
_BLIND = sns.color_palette("colorblind")
COLOURS = {
    "fixed": _BLIND[7],
    "step": _BLIND[7],
    "inv": _BLIND[7],
    "exp": "black",
    "decay": "#e0529c",  # the palette's pink is too pale for a line
    "triangular": _BLIND[0],
    "triangular2": _BLIND[3],
    "exp_range": _BLIND[2],
    "exp_range_amplitude": _BLIND[4],
    "exp_range_cycle": _BLIND[9],
    "one_cycle": _BLIND[5],
    "one_cycle_momentum": _BLIND[5],
    "range_ramp": _BLIND[4],
    "range_ramp_exponential": _BLIND[4],
}
_COSINE = _BLIND[1]  # its policy is decay's, with another wave
_LIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")  # where widgets work
_DASHES = ("-", "--", ":", "-.")


def colour_of(policy: str):
    """The colour of a kind of policy, by its name; one derived from the name if it is new."""
    if policy in COLOURS:
        return COLOURS[policy]
    digest = hashlib.sha256(policy.encode()).digest()
    return colorsys.hls_to_rgb(int.from_bytes(digest[:4], "big") / 2**32, 0.45, 0.6)


def _colour(policy: Policy):
    """The colour of a policy: its kind's; that of stages is the last one's."""
    if isinstance(policy, Stages):
        return _colour(policy.stages[-1][0])
    if isinstance(policy, Decay) and policy.wave is hann:
        return _COSINE
    return colour_of(policy.name)


def _styles(policies: Mapping[str, Policy]) -> dict[str, dict]:
    """Colour by kind of policy; a second one of the same colour is dashed, and so on."""
    styles, used = {}, {}
    for label, policy in policies.items():
        colour = _colour(policy)
        dashes = used[colour] = used.get(colour, -1) + 1
        styles[label] = {"color": colour, "linestyle": _DASHES[dashes % len(_DASHES)]}
    return styles


def _styles_of(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict]:
    """`_styles` of the policies of some runs, by label."""
    return _styles({label: each[0].config.policy for label, each in runs.items()})


def _axes(ax):
    return plt.subplots(figsize=(7.2, 3.6), layout="constrained")[1] if ax is None else ax


def _legend(ax):
    """A legend above the axes, where it covers no curve."""
    columns = min(3, len(ax.get_legend_handles_labels()[0]))
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": columns}
    ax.legend(fontsize="small", frameon=False, **place)


def policies(policies: Mapping[str, Policy], iterations: int, *, ax=None):
    """The rate of each policy, by label, at iterations 0 to `iterations`."""
    ax = _axes(ax)
    for i, (label, style) in enumerate(_styles(policies).items()):
        t = np.unique(np.linspace(0, iterations, 4001).astype(int))
        # where two policies have the same rate, the wider line of the first stays visible
        ax.plot(t, policies[label](t), label=label, lw=max(1.2, 2.7 - 0.5 * i), **style)
    ax.set(xlabel="iteration", ylabel="learning rate", ylim=(0, None))
    _legend(ax)
    return ax


def anatomy(policy: Triangular, *, ax=None):
    """The first two cycles of a triangular policy, labelled with the paper's terms."""
    ax = policies({policy.name: policy}, 2 * policy.period, ax=ax)
    base, top, n = policy.base_lr, policy.max_lr, policy.stepsize
    height, point = top - base, policy.period + n // 2
    ax.set_ylim(base - 0.35 * height, top + 0.15 * height)
    for y, name, side in ((base, "base_lr", "top"), (top, "max_lr", "bottom")):
        ax.axhline(y, color="black", ls=":", lw=1)
        ax.text(2 * policy.period, y, name, ha="right", va=side)
    for end, depth, name in ((n, 0.1, "stepsize"), (policy.period, 0.25, "cycle")):
        y = base - depth * height
        ax.annotate("", (0, y), (end, y), arrowprops={"arrowstyle": "<->", "color": "black"})
        ax.text(end, y, f"  {name}", va="center")
    ax.plot(point, policy(point), "ko")
    note = f"t = {point:,}\ncycle 2, x = {1 - n // 2 / n:.2f}"  # on the way up
    ax.annotate(note, (point, policy(point)), (12, -4), textcoords="offset points", va="top")
    ax.get_legend().remove()
    return ax


def explore(base_lr: float, max_lr: float, stepsize: int, gamma: float, *, live=None):
    """A policy to play with: sliders in JupyterLab, VS Code or Colab, else one figure.

    `live=True` gives the sliders; by default the environment variables decide.
    """
    names = {
        "triangular": Triangular,
        "triangular2": Triangular2,
        "exp_range": ExpRange,
        "exp_range, amplitude only": ExpRangeAmplitude,
    }

    def draw(policy, wave, base_lr, max_lr, stepsize, gamma):
        extra = [gamma] if "exp" in policy else []
        bounds = (min(base_lr, max_lr), max_lr, stepsize)
        value = names[policy](*bounds, *extra, wave=WAVES[wave])
        policies({f"{policy}, {wave}": value}, 20_000)
        plt.show()

    if live is None:
        live = any(name in os.environ for name in _LIVE)
    if not live:
        return draw("exp_range", "hann", base_lr, max_lr, stepsize, gamma)
    import ipywidgets as widgets

    def slider(value):
        return widgets.FloatSlider(
            value=value, min=0, max=2 * max_lr, step=max_lr / 60, readout_format=".4f"
        )

    return widgets.interact(
        draw,
        policy=list(names),
        wave=list(WAVES),
        base_lr=slider(base_lr),
        max_lr=slider(max_lr),
        stepsize=widgets.IntSlider(value=stepsize, min=100, max=10_000, step=100),
        gamma=widgets.FloatSlider(
            value=gamma, min=0.9997, max=1, step=0.00001, readout_format=".5f"
        ),
    )


def histories(
    runs: Mapping[str, Sequence[Run]],
    *,
    y: str = "test_accuracy",
    ax=None,
    labels: str = "legend",
    styles: Mapping[str, Mapping] | None = None,
):
    """A column of the histories against iteration, by label: mean over the seeds.

    The band reaches from the worst seed to the best; a seed that stopped early counts
    up to its last row. `labels` are in a "legend", "direct" at the end of each line, or "none".
    `styles` are matplotlib's properties of the lines, by label; without them, there is one
    colour per kind of policy. Without runs, the axes say "not run".
    """
    checks.one_of("labels", labels, ("legend", "direct", "none"))
    ax = _axes(ax)
    styles = _styles_of(runs) if styles is None else styles
    for label in runs:
        style = styles[label]
        columns = [run.history.set_index("iteration")[y] for run in runs[label]]
        table = np.ma.masked_invalid(_aligned(columns))
        t = max(columns, key=len).index
        name = f"{label} (n = {len(columns)})"
        ax.plot(t, table.mean(1), label=None if labels == "direct" else name, **style)
        if labels == "direct":
            dark = [0.7 * part for part in to_rgb(style["color"])]  # pale text is hard to read
            ax.annotate(
                name,
                (t[-1], table.mean(1)[-1]),
                (6, -2),
                textcoords="offset points",
                color=dark,
                va="top",
                bbox={"color": "white", "alpha": 0.85, "pad": 0.5},
            )
        if len(columns) > 1:
            ax.fill_between(
                t, table.min(1), table.max(1), color=style["color"], alpha=0.15, lw=0
            )
    ax.set(xlabel="iteration", ylabel=y.replace("_", " "))
    if not runs:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center")
    elif labels == "legend":
        _legend(ax)
    return ax


def panels(groups: Mapping[str, Mapping[str, Sequence[Run]]]):
    """`histories` of several groups of arms, one panel per group, on common axes.

    At most three panels stand side by side. A group without runs has a panel that says so. The
    legend, above the panels, has the arms of all groups, and an arm looks the same in each.
    Returns the axes, one per group. ValueError without groups.
    """
    if not groups:
        raise ValueError("groups must hold at least one group of arms; it is empty")
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    size = {"figsize": (7.2, 0.8 + 2.2 * rows), "layout": "constrained"}
    figure, axes = plt.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, **size)
    used, rest = axes.flat[: len(groups)], axes.flat[len(groups) :]
    every = {label: runs for group in groups.values() for label, runs in group.items()}
    styles = _styles_of(every)
    for i, (ax, (name, runs)) in enumerate(zip(used, groups.items(), strict=True)):
        histories(runs, ax=ax, labels="none", styles=styles)
        ax.tick_params(labelbottom=True)
        ax.locator_params(axis="x", nbins=4)
        ax.set(xlabel="iteration" if i + columns >= len(groups) else "")
        ax.set(ylabel="" if i % columns else "test accuracy")
        ax.set_title(name, fontsize="medium")
    for ax in rest:
        ax.axis("off")
    lines = [Line2D([], [], **style) for style in styles.values()]
    figure.legend(lines, list(styles), loc="outside upper center", ncols=3, frameon=False)
    return used


def bounds(pairs: Mapping[str, tuple[float, float]], *, colours: Mapping[str, tuple], ax=None):
    """Lower and upper bounds of the rate by name, one line per name, on a logarithmic axis.

    The bounds are above 0; `colours` has one colour per name.
    """
    ax = _axes(ax)
    for y, (name, pair) in enumerate(pairs.items()):
        ax.plot(pair, [y, y], "o-", lw=4, color=colours[name])
        for rate, side, offset in zip(pair, ("right", "left"), (-7, 7), strict=True):
            at = {"xytext": (offset, 0), "textcoords": "offset points"}
            ax.annotate(f"{rate:g}", (rate, y), ha=side, va="center", fontsize="small", **at)
    ax.set(xscale="log", yticks=range(len(pairs)), yticklabels=list(pairs))
    ax.set(ylim=(len(pairs) - 0.5, -0.5), xlabel="learning rate")
    ax.margins(x=0.12)
    return ax


def published(experiment: Experiment, runs: Mapping[str, Sequence[Run]], *, ax):
    """Stars where a paper publishes an accuracy of an arm, in the colours of `histories`.

    A star stands at the published number of iterations or, where the paper gives epochs, at the
    end of the arm. Arms without runs have no star.
    """
    star = {"marker": "*", "s": 130, "edgecolor": "black", "zorder": 5, "clip_on": False}
    numbers = papers.of(experiment)
    for arm, style in _styles({k: v[0].config.policy for k, v in runs.items()}).items():
        for row in numbers[numbers.index == arm].itertuples():
            unknown = pd.isna(row.iterations)  # the paper gives epochs
            at = experiment.arms[arm].iterations if unknown else row.iterations
            ax.scatter(at, row.accuracy, color=style["color"], **star)
    ax.scatter([], [], color="white", label="published", **star)
    _legend(ax)
    return ax


def rates(runs: Mapping[str, Sequence[Run]], *, ax=None):
    """The rates that were used, by label, as the optimizers held them.

    Dots are the rates read back at each test; the line is the policy.
    """
    ax = _axes(ax)
    for label, style in _styles({k: v[0].config.policy for k, v in runs.items()}).items():
        run = runs[label][0]
        t = np.unique(np.linspace(0, run.config.iterations, 4001).astype(int))
        ax.plot(t, run.config.policy(t), lw=1, **style)
        ax.plot("iteration", "lr", ".", ms=4, color=style["color"], data=run.history)
    ax.set(xlabel="iteration", ylabel="learning rate", ylim=(0, None))
    return ax


def sensitivity(
    curves: Mapping[str, Curve],
    policies: Mapping[str, Policy],
    *,
    below: float | None = None,
    ax=None,
):
    """Final test accuracy against peak rate, by schedule: mean over the seeds.

    The band reaches from the worst seed to the best. `policies` holds a policy of each
    schedule, for its colour. A cross marks the rates at which runs diverged; these count with
    the accuracy of guessing. A dot marks the rate that the validation accuracy chooses.

    The figure ends `below` under the best mean (a fraction of accuracy), or shows everything if
    that is None. Lower parts of the lines are cut off; lower crosses stand at the edge.
    """
    ax = _axes(ax)
    lowest = 0.0
    if below is not None:
        best = max((curve.test.mean(1).max() for curve in curves.values()), default=0.0)
        lowest = max(best - below, 0.0)
    for name, style in _styles({name: policies[name] for name in curves}).items():
        curve = curves[name]
        mean = curve.test.mean(1)
        ax.plot(curve.rates, mean, label=name, lw=2, marker=".", ms=5, **style)
        low, high = curve.test.min(1), curve.test.max(1)
        ax.fill_between(curve.rates, low, high, color=style["color"], alpha=0.15, lw=0)
        gone = [i for i, n in enumerate(curve.diverged) if n]
        crosses = np.take(curve.rates, gone), np.maximum(mean[gone], lowest)
        ax.plot(*crosses, "x", color=style["color"], ms=7, clip_on=False)
        at = curve.rates.index(curve.chosen)
        ax.plot(curve.chosen, mean[at], "o", color=style["color"], ms=6)
    rates = sorted({rate for curve in curves.values() for rate in curve.rates})
    ax.set_xscale("log", base=2)
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.set(xlabel="peak rate", ylabel="test accuracy")
    if lowest:
        ax.set_ylim(bottom=lowest)
    _legend(ax)
    return ax


def _forest(rows: Sequence[Mapping], by: str):
    """One panel per value of the column `by`, each with its own scale.

    Returns all axes, and the rows of each.
    """
    names = dict.fromkeys(row[by] for row in rows)
    groups = {name: [r for r in rows if r[by] == name] for name in names} or {"not run": []}
    lines = [max(1, len(each)) for each in groups.values()]
    size = (8, 1 + 0.34 * sum(lines) + 0.6 * len(lines))
    subplots = {"squeeze": False, "height_ratios": lines, "layout": "constrained"}
    axes = plt.subplots(len(lines), 1, figsize=size, **subplots)[1][:, 0]
    for ax, (name, each) in zip(axes, groups.items(), strict=True):
        ax.set(ylim=(max(1, len(each)) - 0.5, -0.5), yticks=range(len(each)))
        ax.set_title(name, loc="left", fontsize="medium")
    return axes, groups.values()


VERDICTS = {  # their colours
    **dict.fromkeys(HOLDS, _BLIND[2]),
    "gain below the margin": _BLIND[1],
    **dict.fromkeys(("worse", "different"), _BLIND[3]),
    "undecided": "0.45",
}
_LEGEND = {
    "the claim holds": "better",
    "gain below the margin": "gain below the margin",
    "worse, or different": "worse",
    "undecided": "undecided",
}
_MEASURES = {  # the factor from a row's numbers to the axis, and the label of the axis
    "accuracy": (100, "difference, points of accuracy"),
    "loss": (1, "difference of losses, nats (below 0 is better)"),
}


def _label(ax, texts: Sequence[str]):
    """Label the lines of a panel; long labels are wrapped."""
    wrapped = ["\n".join(textwrap.wrap(text, 46)) for text in texts]
    ax.set_yticklabels(wrapped, fontsize="small")


def claims(rows: Sequence[Mapping], *, by: str = "experiment"):
    """The judged claims of `clr.papers.scoreboard.comparisons`: differences with intervals.

    One panel for each value of the column `by`, scaled by its own range. A dot is our
    difference, a line its interval, a star the published difference, a grey bar the range in
    which the claim holds; the colour is the verdict. Where runs that diverged decide, the panel
    says so instead. Claims that were not run are left out. Returns the axes.
    """
    axes, groups = _forest([row for row in rows if row["verdict"] in VERDICTS], by)
    for ax, each in zip(axes, groups, strict=True):
        keys = ("difference", "low", "high", "published_difference")
        measure = each[0]["measure"] if each else "accuracy"
        times, label = _MEASURES[measure]
        values = [times * (row[key] or 0) for row in each for key in keys]
        margins = [times * row["margin"] for row in each]
        low = min([*values, *np.negative(margins)], default=-1)
        high = max([*values, *margins], default=1)
        edges = low - 0.05 * (high - low), high + 0.05 * (high - low)
        ax.set_xlim(*edges)
        for y, row in enumerate(each):
            _claim(ax, y, row, edges, times)
        _label(ax, [row["claim"] for row in each])
        if ax is axes[-1] or measure == "loss":
            ax.set_xlabel(label)
    for said, word in _LEGEND.items():
        axes[0].plot([], [], "o-", color=VERDICTS[word], lw=3, label=said)
    axes[0].plot([], [], "*", color="black", ms=9, label="published")
    axes[0].barh(0, 0, color=_ALLOWED, label="where it holds")
    place = {"loc": "outside upper right", "ncols": 6}
    axes[0].figure.legend(fontsize="small", frameon=False, **place)
    return axes


_ALLOWED = "0.9"


def _claim(ax, y: float, row: Mapping, edges: tuple[float, float], times: float):
    """Draw one claim as a line of its panel.

    `edges` are the limits of the panel's x axis, and `times` is the factor to its unit.
    """
    (allowed,) = [ends for word, *ends in RELATIONS[row["relation"]] if word in HOLDS]
    if row["measure"] == "loss":
        allowed = [-each for each in reversed(allowed)]
    low, high = np.clip([times * row["margin"] * each for each in allowed], *edges)
    ax.barh(y, high - low, left=low, height=0.8, color=_ALLOWED, zorder=0)
    if row["published_difference"] is not None:
        ax.plot(times * row["published_difference"], y, "*", color="black", ms=9, zorder=3)
    if row["difference"] is None:
        ax.text(
            edges[0],
            y,
            f" {row['points']}",
            va="center",
            fontsize="small",
            color=_BLIND[3],
            bbox={"color": "white", "pad": 0.5},
        )
        return
    colour = VERDICTS[row["verdict"]]
    if row["low"] is not None:
        ax.plot([times * row["low"], times * row["high"]], [y, y], color=colour, lw=3)
    ax.plot(times * row["difference"], y, "o", color=colour, ms=6)


def numbers(rows: Sequence[Mapping]):
    """The accuracies of `clr.papers.scoreboard.numbers`: ours minus the published.

    A dot is the mean of our runs, a line one standard deviation to both sides. Runs that
    diverged are counted beside it. Returns the axes, one per table or figure of a paper.
    """
    shown = [row for row in rows if row["mean"] is not None]
    axes, groups = _forest(shown, "place")
    for ax, each in zip(axes, groups, strict=True):
        for y, row in enumerate(each):
            x, sd = 100 * (row["mean"] - row["accuracy"]), 100 * (row["sd"] or 0)
            colour = _BLIND[3] if row["diverged"] else _BLIND[0]
            ax.errorbar(x, y, xerr=sd, fmt="o", lw=3, color=colour)
            if row["diverged"]:
                said = f"   {row['diverged']} of {row['n']} runs diverged"
                ax.text(x + sd, y, said, va="center", fontsize="small", color=colour)
        ax.axvline(0, color="black", lw=1)
        names = [f"{r['policy']}, {r['setting']}: {r['theirs']} %" for r in each]
        _label(ax, names)
    axes[-1].set_xlabel("ours minus the published, points")
    return axes


def finders(rows: pd.DataFrame, *, ax=None):
    """The regret of each finder of the rate (`data/finders.csv`): a dot per task.

    A dot is the mean over the schedules and the seeds. It is filled for the tasks on which our
    rule was judged in the end, half filled for those on which it was judged once and then
    mended, and open for those on which it was chosen. A line marks the mean over the filled
    ones, and the finder with the lowest mean comes first.
    """
    schedules = rows.columns[rows.columns.get_loc("rate") + 1 :]
    each = 100 * rows.groupby(["finder", "part", "task"])[list(schedules)].mean().mean(axis=1)
    order = each[:, "again"].groupby("finder").mean().sort_values()
    if ax is None:
        size = (7.2, 1.0 + 0.28 * len(order))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    parts = {
        "again": ("full", "judged"),
        "judged": ("left", "judged before, then mended"),
        "design": ("none", "rule chosen on these"),
    }
    for y, (finder, mean) in enumerate(order.items()):
        colour = _BLIND[2] if finder.startswith("ours") else _BLIND[7]
        ax.plot([mean, mean], [y - 0.35, y + 0.35], color=colour, lw=3)
        for part, (fill, label) in parts.items():
            dots = each.loc[finder].get(part, pd.Series(dtype=float))
            style = {"color": colour, "fillstyle": fill, "ms": 5, "clip_on": False, "zorder": 3}
            ax.plot(dots, [y] * len(dots), "o", label="" if y else label, **style)
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlim=(0, 100), xticks=[0, 1, 10, 100], xticklabels=["0", "1", "10", "100"])
    ax.set(xlabel="share of the reachable rise that is lost, %", ylim=(len(order) - 0.5, -0.5))
    ax.set_yticks(range(len(order)), order.index)
    ax.legend(
        fontsize="small", frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3
    )
    return ax


def _aligned(columns):
    """Series of several runs side by side: (rows, runs), NaN where a run had ended."""
    rows = max(len(column) for column in columns)
    return np.stack(
        [np.pad(c.to_numpy(), (0, rows - len(c)), constant_values=np.nan) for c in columns], 1
    )
