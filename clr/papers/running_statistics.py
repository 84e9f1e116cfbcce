"""The same weights, tested with two moving averages of the batch statistics (an appendix)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from clr.papers import colours, figures, solvers, verdicts
from clr.papers import super_convergence as sc
from clr.runs import Run, Store
from clr.training import SECOND

PLACES = {  # the experiments that test runs in both ways, by what they repeat
    "Figure 1a, ResNet-56": sc.SUPERCONVERGENCE,
    "Figure 1a, ResNet-20": sc.SUPERCONVERGENCE_SHORT,
    "Figure 1a, ResNet-8": sc.SUPERCONVERGENCE_SMALL,
    "Figure 6": solvers.FIGURE6,
}
_CLAIMS = (  # the claims of the papers, for any average of the two arms
    ("one cycle", "better than", "step"),
    ("triangular", "not worse than", "fixed"),
)
AVERAGE = ", bn_fraction.*|, the cycle's statistics$"  # in the name of an arm
_WORDS = {  # of the names of arms and claims
    ", the step's statistics": ", slower average",
    ", the cycle's statistics": ", faster average",
    " with its other running statistics": ", other average",
    ", bn_fraction 0.9": ", faster average",
}


def second(run: Run) -> Run:
    """A run whose tests are those with the second running statistics.

    KeyError if its config has no `second_bn_fraction`.
    """
    columns = dict(run.columns)
    for name in SECOND:
        columns[name.removeprefix("second_")] = columns.pop(name)
    return replace(run, columns=columns)


def histories(tests: Mapping[str, Sequence[Run]], *, ax=None):
    """`figures.histories` of one training in several tests, by label: they differ in dashes."""
    (first, *_), *_ = tests.values()
    colour = colours.colour(first.config.policy)
    looks = [{"color": colour, "linestyle": dashes} for dashes in colours.DASHES]
    styles = dict(zip(tests, looks, strict=False))
    return figures.histories(tests, ax=ax, styles=styles)


def tested_twice(pairs: Mapping[str, tuple[Sequence[Run], Sequence[Run]]]) -> pd.DataFrame:
    """The ends of runs with a fast and a slow average, by label: means, difference, interval.

    Runs with the same seed have the same weights; those without a partner are left out. The
    interval is that of the pairs, and "–" for one pair.
    """
    rows = {}
    for label, (fast, slow) in pairs.items():
        ends = [
            pd.Series({run.config.seed: run.final_accuracy for run in e}) for e in (fast, slow)
        ]
        both = 100 * pd.concat(ends, axis=1, join="inner")
        low, high = verdicts.interval(both[0], both[1], paired=True)
        mean = both.mean()
        rows[label] = {
            "our iterations": f"{fast[0].config.iterations:,}",
            "fast, %": f"{mean[0]:.1f}",
            "slow, %": f"{mean[1]:.1f}",
            "difference": f"{mean[0] - mean[1]:+.1f}",
            "interval": f"{low:+.1f} to {high:+.1f}" if len(both) > 1 else "–",
            "n": len(both),
        }
    return pd.DataFrame(rows).T


def claims(store: Store) -> dict[str, list[dict]]:
    """The judged claims of the papers with every way of testing, by the places in `PLACES`."""
    found: dict[str, list[dict]] = {place: [] for place in PLACES}
    for place, each in PLACES.items():
        for row in verdicts.judge(each, each.most_recorded(store)):
            arm, other = (re.sub(AVERAGE, "", row[key]) for key in ("arm", "other"))
            if (arm, row["relation"], other) in _CLAIMS:
                found[place].append(row)
    return found


def sentence(row: Mapping) -> str:
    """A judged claim as a sentence that names the averages in two words."""
    said = row["claim"]
    for old, new in _WORDS.items():
        said = said.replace(old, new)
    return said[0].upper() + said[1:]
