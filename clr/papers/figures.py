"""The figures: policies, accuracy against iteration, claims. One colour per kind of policy.

Importing this module sets seaborn's theme, so that all figures look alike.

A function draws on the `ax` it is given, or on a new figure, and returns the axes.
"""

from __future__ import annotations

import colorsys
import hashlib
import os
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from clr.papers import published as papers
from clr.papers.experiment import RELATIONS, Experiment
from clr.policies import WAVES, ExpRange, ExpRangeAmplitude, Policy, Triangular, Triangular2
from clr.runs import Run

sns.set_theme(style="whitegrid", rc={"figure.dpi": 84, "font.size": 10})
_BLIND = sns.color_palette("colorblind")
COLOURS = {
    "fixed": _BLIND[7],
    "step": _BLIND[7],
    "inv": _BLIND[5],
    "exp": "black",
    "decay": _BLIND[6],
    "triangular": _BLIND[0],
    "triangular2": _BLIND[3],
    "stages": _BLIND[3],
    "exp_range": _BLIND[2],
    "exp_range_amplitude": _BLIND[4],
    "exp_range_cycle": _BLIND[9],
    "one_cycle": _BLIND[1],
    "one_cycle_momentum": _BLIND[1],
    "range_ramp": _BLIND[4],
    "range_ramp_exponential": _BLIND[4],
}
_CONTROLS = {"cosine": _BLIND[4]}  # by label: its policy is decay's, with another wave
_LIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")  # where widgets work
_DASHES = ("-", "--", ":", "-.")


def colour_of(policy: str):
    """The colour of a kind of policy, by its name; one derived from the name if it is new."""
    if policy in COLOURS:
        return COLOURS[policy]
    digest = hashlib.sha256(policy.encode()).digest()
    return colorsys.hls_to_rgb(int.from_bytes(digest[:4], "big") / 2**32, 0.45, 0.6)


def _styles(policies: Mapping[str, Policy]) -> dict[str, dict]:
    """Colour by kind of policy; a second one of the same colour is dashed, and so on."""
    styles, used = {}, {}
    for label, policy in policies.items():
        colour = _CONTROLS.get(label) or colour_of(policy.name)
        dashes = used[colour] = used.get(colour, -1) + 1
        styles[label] = {"color": colour, "linestyle": _DASHES[dashes % len(_DASHES)]}
    return styles


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
    for label, style in _styles(policies).items():
        t = np.unique(np.linspace(0, iterations, 4001).astype(int))
        ax.plot(t, policies[label](t), label=label, **style)
    ax.set(xlabel="iteration", ylabel="learning rate", ylim=(0, None))
    _legend(ax)
    return ax


def anatomy(policy: Triangular, *, ax=None):
    """The first two cycles of a triangular policy, with the paper's words written into it."""
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
    note = f"t = {point:,}\ncycle 2, x = {1 - float(policy._share(point)):.2f}"
    ax.annotate(note, (point, policy(point)), (12, -4), textcoords="offset points", va="top")
    ax.get_legend().remove()
    return ax


def explore(base_lr: float, max_lr: float, stepsize: int, gamma: float, *, live=None):
    """A policy to play with: sliders in JupyterLab, VS Code or Colab, else one figure.

    `live` says which; by default it is found out from the environment's variables.
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
        policies({repr(value): value}, 20_000)
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
    runs: Mapping[str, Sequence[Run]], *, y: str = "test_accuracy", ax=None, legend: bool = True
):
    """A column of the histories against iteration, by label: mean over the seeds.

    The band reaches from the worst seed to the best; a seed that stopped early counts
    as far as it went.
    """
    ax = _axes(ax)
    for label, style in _styles({k: v[0].config.policy for k, v in runs.items()}).items():
        columns = [run.history.set_index("iteration")[y] for run in runs[label]]
        table = np.ma.masked_invalid(_aligned(columns))
        t = max(columns, key=len).index
        ax.plot(t, table.mean(1), label=f"{label} (n = {len(columns)})", **style)
        if len(columns) > 1:
            ax.fill_between(
                t, table.min(1), table.max(1), color=style["color"], alpha=0.15, lw=0
            )
    ax.set(xlabel="iteration", ylabel=y.replace("_", " "))
    if legend:
        _legend(ax)
    return ax


def panels(groups: Mapping[str, Mapping[str, Sequence[Run]]], *, columns: int = 3):
    """`histories` of several groups of arms, one panel per group, on common axes.

    A group without runs has a panel that says so. The legend stands behind the last panel, and
    is that of the first group with runs. Returns the axes, one per group.
    """
    rows = len(groups) // columns + 1
    size = {"figsize": (7.2, 0.4 + 2.2 * rows), "layout": "constrained"}
    axes = plt.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, **size)[1]
    used, rest = axes.flat[: len(groups)], axes.flat[len(groups) :]
    for i, (ax, (name, runs)) in enumerate(zip(used, groups.items(), strict=True)):
        histories(runs, ax=ax, legend=False)
        lowest = i + columns >= len(groups)
        ax.tick_params(labelbottom=lowest)
        ax.set(xlabel="iteration" if lowest else "")
        ax.set(ylabel="" if i % columns else "test accuracy")
        ax.set_title(name, fontsize="medium")
        if not runs:
            ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center")
    for ax in rest:
        ax.axis("off")
    lines = next((ax.get_lines() for ax in used if ax.get_lines()), [])
    labels = [line.get_label().split(" (n = ")[0] for line in lines]
    rest[0].legend(lines, labels, loc="center", fontsize="small", frameon=False)
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
    """Stars where a paper publishes an accuracy of an arm, in the colours of `histories`."""
    styles = _styles({k: v[0].config.policy for k, v in runs.items()})
    label = "published"
    for arm, row in papers.of(experiment).iterrows():
        colour = styles[arm]["color"] if arm in styles else "black"
        star = {"marker": "*", "s": 130, "edgecolor": "black", "zorder": 5, "clip_on": False}
        ax.scatter(row["iterations"], row["accuracy"], color=colour, label=label, **star)
        label = None
    _legend(ax)
    return ax


def rates(runs: Mapping[str, Sequence[Run]], *, ax=None):
    """The rates that were used, by label, as the optimizers held them.

    Dots are read back at each test; the line between them is the policy's.
    """
    ax = _axes(ax)
    for label, style in _styles({k: v[0].config.policy for k, v in runs.items()}).items():
        run = runs[label][0]
        t = np.unique(np.linspace(0, run.config.iterations, 4001).astype(int))
        ax.plot(t, run.config.policy(t), lw=1, **style)
        ax.plot("iteration", "lr", ".", ms=4, color=style["color"], data=run.history)
    ax.set(xlabel="iteration", ylabel="learning rate", ylim=(0, None))
    return ax


def _forest(rows: Sequence[Mapping], key: str):
    """(axes, its rows) for each value of `key`: one line per row, and a scale of its own."""
    names = dict.fromkeys(row[key] for row in rows)
    groups = {name: [r for r in rows if r[key] == name] for name in names} or {"not run": []}
    lines = [max(1, len(each)) for each in groups.values()]
    size = (7.2, 1 + 0.26 * sum(lines) + 0.6 * len(lines))
    subplots = {"squeeze": False, "height_ratios": lines, "layout": "constrained"}
    axes = plt.subplots(len(lines), 1, figsize=size, **subplots)[1][:, 0]
    for ax, (name, each) in zip(axes, groups.items(), strict=True):
        ax.set(ylim=(max(1, len(each)) - 0.5, -0.5), yticks=range(len(each)))
        ax.set_title(name, loc="left", fontsize="medium")
    return axes, groups.values()


VERDICTS = {"reproduced": _BLIND[2], "not reproduced": _BLIND[3], "undecided": _BLIND[7]}


def claims(rows: Sequence[Mapping]):
    """The judged claims of `clr.scoreboard.comparisons`: differences and their intervals.

    A grey bar is what a claim allows; the colour is the verdict. What is beyond 40 margins is
    an arrow; claims that were not run are left out. Returns the axes, one per
    experiment.
    """
    axes, groups = _forest([row for row in rows if row["verdict"] in VERDICTS], "experiment")
    for ax, each in zip(axes, groups, strict=True):
        sizes = [110 * abs(row[k] or 0) for row in each for k in ("difference", "low", "high")]
        edge = min(max(sizes, default=1.0), 100.0, *(4000 * row["margin"] for row in each))
        for y, row in enumerate(each):
            low, high = (100 * row["margin"] * share for share in RELATIONS[row["relation"]])
            low, high = max(low, -edge), min(high, edge)
            ax.barh(y, high - low, left=low, height=0.8, color="0.92", zorder=0)
            colour = VERDICTS[row["verdict"]]
            if row["difference"] is None:
                ax.text(0, y, "a run diverged", ha="center", va="center", fontsize="small")
                continue
            if row["low"] is not None:
                ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, lw=3)
            x = 100 * row["difference"]
            marker = "o" if abs(x) < edge else "<>"[x > 0]
            ax.plot(np.clip(x, -edge, edge), y, marker, color=colour, ms=6, clip_on=False)
        ax.set_xlim(-edge, edge)
        names = ["control: " * r["source"].endswith("control") + r["claim"] for r in each]
        ax.set_yticklabels(names, fontsize="small")
    axes[-1].set_xlabel("difference in test accuracy, points")
    for verdict, colour in VERDICTS.items():
        axes[0].plot([], [], "o-", color=colour, lw=3, label=verdict)
    place = {"loc": "outside upper right", "ncols": 3, "handles": axes[0].get_lines()[-3:]}
    axes[0].figure.legend(fontsize="small", frameon=False, **place)
    return axes


def numbers(rows: Sequence[Mapping]):
    """The accuracies of `clr.scoreboard.numbers`: ours (± sd) minus the published.

    Returns the axes, one per data set.
    """
    axes, groups = _forest([row for row in rows if row["mean"] is not None], "dataset")
    for ax, each in zip(axes, groups, strict=True):
        for y, row in enumerate(each):
            x, sd = 100 * (row["mean"] - row["accuracy"]), 100 * (row["sd"] or 0)
            ax.errorbar(x, y, xerr=sd, fmt="o", lw=3, color=_BLIND[0])
        ax.axvline(0, color="black", lw=1)
        names = [f"{r['place']}, {r['policy']}, {r['setting']}: {r['paper']} %" for r in each]
        ax.set_yticklabels(names, fontsize="small")
    axes[-1].set_xlabel("ours minus the published, points")
    return axes


def _aligned(columns):
    """Series of several runs side by side: (rows, runs), NaN where a run had ended."""
    rows = max(len(column) for column in columns)
    return np.stack(
        [np.pad(c.to_numpy(), (0, rows - len(c)), constant_values=np.nan) for c in columns], 1
    )
