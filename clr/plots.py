"""The figures: a policy, a range test, accuracy against iteration. One colour a policy.

Importing this module sets seaborn's theme, so that all figures look alike.

Every function draws on the `ax` it is given, or on a new figure, and returns the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from clr.policies import Policy
from clr.range_test import Bounds
from clr.runs import Run

sns.set_theme(style="whitegrid", rc={"figure.dpi": 84, "font.size": 10})
_BLIND = sns.color_palette("colorblind")
COLOURS = {
    "fixed": _BLIND[7],
    "step": _BLIND[7],
    "exp": _BLIND[5],
    "decay": _BLIND[6],
    "triangular": _BLIND[0],
    "triangular2": _BLIND[3],
    "stages": _BLIND[3],
    "exp_range": _BLIND[2],
    "exp_range_amplitude": _BLIND[8],
    "exp_range_cycle": _BLIND[9],
    "one_cycle": _BLIND[1],
    "one_cycle_momentum": _BLIND[1],
    "range_ramp": _BLIND[4],
    "range_ramp_exponential": _BLIND[4],
}
_DASHES = ("-", "--", ":", "-.")


def _styles(policies: Mapping[str, Policy]) -> dict[str, dict]:
    """Colour by kind of policy; a second one of the same colour is dashed, and so on."""
    styles, used = {}, {}
    for label, policy in policies.items():
        colour = COLOURS.get(policy.name, "black")
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


def _aligned(columns):
    """Series of several runs side by side: (rows, runs), NaN where a run had ended."""
    rows = max(len(column) for column in columns)
    return np.stack(
        [np.pad(c.to_numpy(), (0, rows - len(c)), constant_values=np.nan) for c in columns], 1
    )


def range_test(runs: Sequence[Run], bounds: Bounds | None = None, *, ax=None):
    """Test accuracy against the rate, a thin line a seed and their median.

    `bounds` marks base_lr and max_lr.
    """
    ax = _axes(ax)
    colour = COLOURS[runs[0].config.policy.name]
    for run in runs:
        ax.plot(
            run.history["lr"], run.history["test_accuracy"], color=colour, lw=0.8, alpha=0.6
        )
    table = _aligned([run.history["test_accuracy"] for run in runs])
    lr = max((run.history["lr"] for run in runs), key=len)
    ax.plot(
        lr, np.nanmedian(table, axis=1), color=colour, lw=2.5, label=f"median (n = {len(runs)})"
    )
    if bounds is not None:
        for name, dashes in (("base_lr", ":"), ("max_lr", "--")):
            if (value := getattr(bounds, name)) is not None:
                text = f"{name} = {value:.2g}"
                ax.axvline(value, color="black", ls=dashes, lw=1.2, label=text)
    ax.set(xlabel="learning rate", ylabel="test accuracy")
    _legend(ax)
    return ax
