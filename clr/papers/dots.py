"""Runs as dots: a row per arm, with its schedule's shape, a dot per run and the mean in bold.

    dots.compare(AT_CHOSEN_RATES, runs)

Rows are sorted, the best mean first. A line parts the schedules whose rate ends at 0 from the
others, if all of the former are on one side of it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import FigureBase
from matplotlib.transforms import blended_transform_factory

from clr.papers import EXPERIMENTS, again, colours, icons
from clr.papers.experiment import Arm, Experiment
from clr.papers.figures import plt
from clr.papers.verdicts import Summary
from clr.policies import Policy
from clr.runs import Run, Store

WIDTH, ROW = 7.6, 0.42  # inches: of a figure, and the height of a row
HEAD, FOOT = 0.42, 0.62  # inches above the rows, for the title, and below them
ICON, LABEL = 0.12, 0.375  # where the icons and the labels end, as fractions of the width
LETTERS = 25  # in a line of a label
_INK = ("#222222", "#6e6e6e", "#dddddd"), ("#eeeeee", "#a6a6a6", "#444444")  # light, dark
_UNITS = {  # by measure: the factor, the unit and the decimals of a mean, the label of the axis
    "accuracy": (100, " %", 1, "test accuracy, %"),
    "loss": (1, "", 3, "test loss, nats per byte (less is better)"),
}


def ends_at_0(policy: Policy, iterations: int) -> bool:
    """Whether the rate of a policy ends at 0, or so near that no figure shows it."""
    t = np.unique(np.linspace(0, iterations, 401).astype(int))
    return bool(policy(t)[-1] < policy(t).max() / 1000)


def compare(
    experiment: Experiment,
    runs: Mapping[str, Sequence[Run]],
    *,
    title: str = "",
    dark: bool = False,
    figure: FigureBase | None = None,
) -> FigureBase:
    """Draw the ends of an experiment's runs, by arm: the shape of the rate, the runs, the mean.

    `runs` are the experiment's. Arms without runs are left out, and runs that diverged are
    counted beside the mean. `dark` is for a dark ground. The figure is drawn on `figure`, such
    as a subfigure, or is a new one. ValueError if no arm has a run to show.
    """
    measure = experiment.measure
    ends = {arm: Summary.of(each, column=f"test_{measure}") for arm, each in runs.items()}
    shown = [arm for arm in experiment.arms if arm in ends and ends[arm].accuracies]
    shown.sort(key=lambda arm: ends[arm].mean, reverse=measure == "accuracy")
    if not shown:
        raise ValueError(f"runs must hold a run of an arm of {experiment.name}; it has none")
    height = _height(len(shown))
    if figure is None:
        figure = plt.figure(figsize=(WIDTH, height), facecolor=colours.GROUND[dark])
    ink, grey, line = _INK[dark]
    bottom, top = FOOT / height, 1 - HEAD / height
    ax = figure.add_axes((LABEL + 0.015, bottom, 0.97 - LABEL - 0.015, top - bottom))
    ax.patch.set_alpha(0)
    ax.set(ylim=(len(shown) - 0.5, -0.5), yticks=[])
    each = (top - bottom) / len(shown)
    for y, name in enumerate(shown):
        arm = experiment.arms[name]
        colour = colours.colour(arm.policy, dark=dark)
        row(ax, y, ends[name], experiment.plan(name), measure, colour)
        label = {"xycoords": ("axes fraction", "data"), "ha": "right", "linespacing": 1.1}
        _annotate(ax, textwrap.fill(name, LETTERS), (0, y), -10, color=ink, **label)
        icon = figure.add_axes((0.012, top - (y + 0.84) * each, ICON - 0.012, 0.68 * each))
        _shape(icon, arm, colour)
    parted = [ends_at_0(arm.policy, arm.iterations) for arm in map(experiment.arms.get, shown)]
    split = sum(parted)
    if 0 < split < len(shown) and all(parted[:split]):
        ax.axhline(split - 0.5, color=grey, lw=0.8, ls=(0, (2, 2)))
        place = blended_transform_factory(ax.transAxes, ax.transData)
        said = {"transform": place, "fontsize": 9, "style": "italic", "color": grey}
        ax.text(0.008, split - 0.56, "↑ the rate ends at 0", va="bottom", **said)
        ax.text(0.008, split - 0.44, "↓ it does not", va="top", **said)
    ax.grid(axis="x", visible=True, color=line, lw=0.8)
    ax.grid(axis="y", visible=False)
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.spines["bottom"].set_color(grey)
    ax.tick_params(colors=ink, labelsize=9.5)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.16 * (high - low))  # room for the last mean
    said = f"{_UNITS[measure][-1]}: a dot is a run, a bar the mean"
    ax.set_xlabel(said, color=ink, fontsize=9.5)
    head = {"weight": "bold", "fontsize": 12, "color": ink, "va": "top"}
    figure.text(0.012, 1 - 0.1 / height, title, **head)
    return figure


def _height(n: int) -> float:
    """The height of a figure with `n` rows, in inches."""
    return HEAD + ROW * n + FOOT


def _annotate(ax, text: str, place: tuple[float, float], right: int, **look):
    """A text so many points to the right of a place."""
    at = {"textcoords": "offset points", "va": "center", "fontsize": 10.5}
    ax.annotate(text, place, (right, 0), **at, **look)


def row(ax, y: int, end: Summary, planned: int, measure: str, colour: str):
    """The runs of one arm, their mean, and what is missing of those that are planned."""
    times, unit, digits, _ = _UNITS[measure]
    values = times * np.array(end.accuracies)
    mean = times * end.mean
    ax.scatter(values, [y] * len(values), s=26, color=colour, alpha=0.5, lw=0, zorder=3)
    ax.vlines(mean, y - 0.28, y + 0.28, color=colour, lw=4, zorder=4)
    gone = f" ({end.diverged} of {end.n} diverged)" if end.diverged else ""
    few = f" ({end.n} of {planned} runs)" if end.n < planned else ""
    said = f"{mean:.{digits}f}{unit}{gone}{few}"
    _annotate(ax, said, (values.max(), y), 8, color=colour, weight="bold")


def _shape(ax, arm: Arm, colour: str):
    """The rate of one arm over its run, as an icon."""
    t, rates = icons.curve(arm.policy, arm.iterations, points=1025)
    x, y = t / arm.iterations, rates / (rates.max() or 1)
    ax.plot(x, y, color=colour, lw=1.6, solid_joinstyle="round", clip_on=False)
    ax.fill_between(x, 0, y, color=colour, alpha=0.15, lw=0)
    ax.axhline(0, color=colour, lw=0.6, alpha=0.6)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.08, 1.12))
    ax.axis("off")


# What each workload compares, by title: experiments with each schedule at its own best rate,
# and the arms to show (None: all). An experiment that is not defined yet is left out. If an arm
# is in two of them, the later one shows it once it has as many runs.
WORKLOADS: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    "Images: cifar10_full, 4,000 iterations": (("at_chosen_rates", "warm_up"), None),
    "Images: resnet8, 4,000 iterations": (("residual",), None),
    "Text: a transformer, 800 iterations": (("again",), (*again.WARMED, *again.CYCLES)),
}


def workloads(store: Store) -> dict[str, tuple[Experiment, dict[str, list[Run]]]]:
    """The experiment and the recorded runs of each workload that has runs, by title."""
    found = {}
    for title, (names, wanted) in WORKLOADS.items():
        arms: dict[str, Arm] = {}
        runs: dict[str, list[Run]] = {}
        for experiment in (EXPERIMENTS[name] for name in names if name in EXPERIMENTS):
            for arm, each in experiment.most_recorded(store).items():
                if (wanted is None or arm in wanted) and len(each) >= len(runs.get(arm, ())):
                    arms[arm], runs[arm] = experiment.arms[arm], each
        if runs:
            found[title] = replace(experiment, arms=arms, claims=()), runs
    return found


def panels(found: Mapping[str, tuple[Experiment, Mapping[str, Sequence[Run]]]]) -> FigureBase:
    """One panel per workload, each with a scale of its own. ValueError without workloads."""
    if not found:
        raise ValueError("found must hold at least one workload; it is empty")
    heights = [_height(len(runs)) for _, runs in found.values()]
    whole = plt.figure(figsize=(WIDTH, sum(heights)), facecolor=colours.GROUND[False])
    parts = whole.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, (experiment, runs)) in zip(parts, found.items(), strict=True):
        part.set_facecolor(colours.GROUND[False])
        compare(experiment, runs, title=title, figure=part)
    return whole
