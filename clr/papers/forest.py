"""Verdicts as pictures: the rule, the judged claims, and our numbers beside the published ones.

All rows of a figure have one scale and one zero.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clr.papers.experiment import HOLDS, MARGIN, RELATIONS
from clr.papers.figures import INK, PALE, plt

YES, NO, OPEN = "#0a7d5b", "#b3261e", "#5f6670"
SIGNS = {True: ("✓", YES), False: ("✗", NO), None: ("?", OPEN)}  # by whether a claim holds
ALLOWED = "#e7f1ec"  # where a claim holds
WIDTH = 46  # characters in a line of a label
_UNITS = {  # by measure: the factor from a row's numbers to the axis, and the label of the axis
    "accuracy": (100, "difference, points of accuracy"),
    "loss": (1, "difference of losses, nats (below 0 is better)"),
}


def mark(row: Mapping) -> str:
    """The verdict of a judged claim in a sign and in words, such as '✓ better'."""
    sign, _ = SIGNS[row["holds"]]
    doubt = "*" if row["holm"] == "no" else ""
    return f"{sign} {row['verdict']}{doubt}"


def sentences(rows: Sequence[Mapping]) -> list[str]:
    """What each row tests, as a sentence: the paper's, or else the claim's.

    Where several rows test one sentence of a paper, each has in brackets what tells it from the
    others: its experiment, its first arm, or its claim.
    """
    found = []
    for row in rows:
        same = [each for each in rows if each["statement"] == row["statement"] != ""]
        if len(same) < 2:
            found.append(row["statement"] or row["claim"])
            continue
        for keys in (["arm"], ["experiment"], ["experiment", "arm"], ["experiment", "claim"]):
            names = [", ".join(each[key] for key in keys) for each in same]
            if len(set(names)) == len(names):
                break
        found.append(f"{row['statement']} ({', '.join(row[key] for key in keys)})")
    return found


def _wrapped(labels: Iterable[str]) -> tuple[list[str], np.ndarray, float]:
    """Labels in lines, the lines that each row takes (at least two), the height in inches."""
    wrapped = [textwrap.fill(label, WIDTH) for label in labels]
    lines = np.array([max(2, 1 + text.count("\n")) for text in wrapped])
    return wrapped, lines, 1.1 + 0.19 * max(2, lines.sum())


def _rows(labels: Sequence[str], ax=None):
    """Axes with a labelled line for each row, the first one at the top, and their places."""
    wrapped, lines, height = _wrapped(labels)
    if ax is None:
        ax = plt.subplots(figsize=(7.6, height), layout="constrained")[1]
    ends = np.cumsum(lines)
    ax.set(ylim=(max(2, lines.sum()), 0), yticks=ends - lines / 2)
    ax.set_yticklabels(wrapped, fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.spines["left"].set_visible(False)
    ax.axvline(0, color=INK, lw=1)
    if not wrapped:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", va="center")
    return ax, ax.get_yticks()


def claims(rows: Sequence[Mapping], *, labels: Sequence[str] | None = None, ax=None):
    """Judged claims (`clr.papers.verdicts.judge`): a difference with its interval per row.

    A dot is our difference, a line its interval, a star the published difference, and the green
    ground is where the claim holds. The verdict stands at the right; where it does not survive
    Holm's correction, it has an asterisk and its dot is open. Secondary claims, to which no
    correction applies, have a diamond instead of a dot. Claims that are not run are left
    out. `labels` replace `sentences`, one per row. ValueError if the rows are partly about
    accuracy and partly about losses.
    """
    names = sentences(rows) if labels is None else labels
    shown = [each for each in zip(rows, names, strict=True) if each[0]["verdict"] != "not run"]
    measures = {row["measure"] for row, _ in shown} or {"accuracy"}
    if len(measures) > 1:
        raise ValueError("rows must all be about accuracy, or all about losses; got both")
    times, label = _UNITS[measures.pop()]
    ax, places = _rows([name for _, name in shown], ax)
    keys = "difference", "low", "high", "published_difference"
    values = [times * (row[key] or 0) for row, _ in shown for key in keys]
    values += [sign * times * row["margin"] for row, _ in shown for sign in (-1, 1)]
    low, high = min(values, default=-1), max(values, default=0)
    edges = low - 0.04 * (high - low), high + 0.04 * (high - low)
    ax.set(xlim=edges, xlabel=label)
    for y, (row, _) in zip(places, shown, strict=True):
        _claim(ax, y, row, edges, times)
    parts = [(Patch(color=ALLOWED), "where it holds")]
    if any(row["published_difference"] is not None for row, _ in shown):
        star = Line2D([], [], marker="*", color="black", ls="", ms=9)
        parts.insert(0, (star, "published"))
    if any(row["holm"] == "no" for row, _ in shown):
        open_dot = Line2D([], [], marker="o", color=OPEN, mfc="white", ls="")
        parts.append((open_dot, "* not after Holm's correction"))
    if any(row["holm"] == "secondary" for row, _ in shown):
        diamond = Line2D([], [], marker="D", ms=5, color=OPEN, ls="")
        parts.append((diamond, "secondary, not corrected"))
    place = {"loc": "outside lower center", "ncols": 4, "frameon": False}
    ax.figure.legend(*zip(*parts, strict=True), fontsize="small", **place)
    return ax


def panels(groups: Mapping[str, Sequence[Mapping]], labels: Callable[[Mapping], str]):
    """`claims` of several groups, one panel below the other, each with a scale of its own.

    `labels` makes the label of a row. A group is left out if none of its claims is run. Returns
    the axes by group.
    """
    run = {
        name: [row for row in rows if row["verdict"] != "not run"]
        for name, rows in groups.items()
    }
    names = {name: list(map(labels, rows)) for name, rows in run.items() if rows}
    if not names:
        return {"": claims([])}
    sizes = [_wrapped(some)[-1] for some in names.values()]
    whole = plt.figure(figsize=(7.6, sum(sizes)), layout="constrained")
    parts = whole.subfigures(len(sizes), 1, height_ratios=sizes, squeeze=False)[:, 0]
    found = {}
    for part, (name, some) in zip(parts, names.items(), strict=True):
        found[name] = claims(run[name], labels=some, ax=part.subplots())
        found[name].set_title(name, loc="left", fontsize="medium")
    return found


def _claim(ax, y: float, row: Mapping, edges: tuple[float, float], times: float):
    """Draw one claim; `edges` are the limits of the axis, `times` the factor to its unit."""
    (allowed,) = [ends for word, *ends in RELATIONS[row["relation"]] if word in HOLDS]
    if row["measure"] == "loss":
        allowed = [-each for each in reversed(allowed)]
    low, high = np.clip([times * row["margin"] * each for each in allowed], *edges)
    ax.barh(y, high - low, left=low, height=1.5, color=ALLOWED, zorder=0)
    (_, verdict), doubt = SIGNS[row["holds"]], row["holm"] == "no"
    text = {"va": "center", "fontsize": 9, "color": verdict}
    ax.annotate(mark(row), (1.01, y), xycoords=("axes fraction", "data"), **text)
    if row["published_difference"] is not None:
        ax.plot(times * row["published_difference"], y, "*", color="black", ms=9, zorder=3)
    if row["difference"] is None:
        ax.text(np.mean(edges), y, row["points"], ha="center", **text)
        return
    if row["low"] is not None:
        ax.plot([times * row["low"], times * row["high"]], [y, y], color=verdict, lw=2.5)
    marker, size = ("D", 5) if row["holm"] == "secondary" else ("o", 6)
    look = {"color": verdict, "mfc": "white" if doubt else verdict, "ms": size}
    ax.plot(times * row["difference"], y, marker, **look)


EXAMPLES = {  # intervals: their ends, in margins
    "The whole interval is above 0": (0.4, 2.2),
    "It holds 0, and ends below the margin": (-0.7, 0.8),
    "It holds 0 and the margin": (-0.6, 1.6),
    "The whole interval is below 0": (-2.0, -0.3),
}


def rule():
    """How an interval decides on "better than": examples against 0 and the margin."""
    relation, rows = "better than", []
    for low, high in EXAMPLES.values():
        found = [w for w, least, most in RELATIONS[relation] if least < low and high < most]
        verdict = next(iter(found), "undecided")
        row = {
            "relation": relation,
            "verdict": verdict,
            "holds": None if verdict == "undecided" else verdict in HOLDS,
            "holm": "–",
            "measure": "accuracy",
            "margin": MARGIN,
            "low": low * MARGIN,
            "high": high * MARGIN,
            "difference": (low + high) / 2 * MARGIN,
            "published_difference": None,
        }
        rows.append(row)
    ax = claims(rows, labels=list(EXAMPLES))
    margin = 100 * MARGIN
    for at in (-margin, margin):
        ax.axvline(at, color=PALE, ls=":", lw=1)
    look = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": PALE}
    ax.annotate(f"margin, {margin:g} points", (margin, 0), (0, 3), **look)
    return ax


def numbers(rows: Sequence[Mapping]):
    """The accuracies of `clr.papers.scoreboard.numbers`: ours minus the published.

    A dot is the mean of our runs, a line one standard deviation to both sides. Runs that
    diverged are counted beside it.
    """
    shown = [row for row in rows if row["mean"] is not None]
    names = [f"{r['place']}: {r['policy']}, {r['setting']} ({r['theirs']} %)" for r in shown]
    ax, places = _rows(names)
    for y, row in zip(places, shown, strict=True):
        x, sd = 100 * (row["mean"] - row["accuracy"]), 100 * (row["sd"] or 0)
        verdict = NO if row["diverged"] else INK
        ax.errorbar(x, y, xerr=sd, fmt="o", ms=5, lw=2.5, color=verdict)
        if row["diverged"]:
            said = f"   {row['diverged']} of {row['n']} runs diverged"
            ax.text(x + sd, y, said, va="center", fontsize="small", color=verdict)
    ax.set_xlabel("ours minus the published, points of accuracy")
    return ax
