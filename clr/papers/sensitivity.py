"""How much a result depends on the rate: accuracy against peak rate, and windows of good rates.

A schedule's window is the range of rates around its best rate whose accuracy is at most one
point below the best. Between the tested rates the accuracy is interpolated linearly in the
logarithm of the rate. The width is in octaves; one octave is a factor of two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log2, nan

import numpy as np
import pandas as pd

from clr.papers.verdicts import Summary, interval, verdict
from clr.runs import Run
from clr.training import VALIDATION

WITHIN = 0.01  # of accuracy, for windows
OCTAVES = 0.5  # the margin of claims about the widths of windows


def window(
    rates: Sequence[float], accuracies: Sequence[float], within: float = WITHIN
) -> tuple[float, float]:
    """The lowest and the highest rate with an accuracy at most `within` below the best one.

    `rates` rise, and `accuracies` are fractions, one per rate. Between two rates the accuracy
    is interpolated in the logarithm of the rate. A window that reaches the end of the grid
    ends there. ValueError for fewer than two rates.
    """
    if len(rates) < 2 or len(rates) != len(accuracies) or min(np.diff(rates)) <= 0:
        raise ValueError(
            "rates must rise, be two or more, and have one accuracy each; got "
            f"{list(rates)!r} and {list(accuracies)!r}"
        )
    x, y = np.log2(rates), np.asarray(accuracies)
    best = int(y.argmax())
    level = y[best] - within

    def edge(step: int) -> float:
        """Where the accuracy falls below the level, on one side of the best rate."""
        i = best
        while 0 <= i + step < len(x) and y[i + step] >= level:
            i += step
        if not 0 <= i + step < len(x):
            return x[i]
        share = (y[i] - level) / (y[i] - y[i + step])
        return x[i] + share * (x[i + step] - x[i])

    return float(2 ** edge(-1)), float(2 ** edge(+1))


@dataclass(frozen=True)
class Curve:
    """One schedule's accuracies (fractions) by peak rate, as arrays of shape (rates, seeds).

    A run that diverged counts with the accuracy of guessing. `failed` says how many runs at
    each rate diverged or ended no better than guessing. The rate is chosen by `validation`.
    """

    rates: tuple[float, ...]
    test: np.ndarray
    validation: np.ndarray
    failed: tuple[int, ...]

    @classmethod
    def of(cls, runs: Mapping[float, Sequence[Run]]) -> Curve:
        """The curve of one schedule's runs by peak rate, with equally many seeds per rate.

        ValueError where the numbers of seeds differ.
        """
        rates = tuple(sorted(runs))
        counts = {len(runs[rate]) for rate in rates}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(f"all rates must have equally many runs; got {sorted(counts)}")

        def table(column: str) -> np.ndarray:
            return np.array([[_or_chance(run, column) for run in runs[r]] for r in rates])

        failed = tuple(sum(run.diverged or run.at_chance for run in runs[r]) for r in rates)
        return cls(rates, table("test_accuracy"), table(VALIDATION), failed)

    @property
    def chosen(self) -> float:
        """The rate with the highest mean validation accuracy."""
        return self.rates[int(self.validation.mean(1).argmax())]

    @property
    def at_edge(self) -> bool:
        """Whether the chosen rate is the lowest or the highest of the grid."""
        return self.chosen in (self.rates[0], self.rates[-1])

    def at(self, rate: float) -> float:
        """The mean test accuracy at a rate, interpolated as for windows; NaN off the grid."""
        means = self.test.mean(1)
        found = np.interp(np.log2(rate), np.log2(self.rates), means, left=nan, right=nan)
        return float(found)

    @property
    def windows(self) -> list[tuple[float, float]]:
        """The window of each seed, by test accuracy."""
        return [window(self.rates, column) for column in self.test.T]

    @property
    def widths(self) -> list[float]:
        """Their widths, in octaves."""
        return [log2(high / low) for low, high in self.windows]


def at_highest(curves: Collection[Curve]) -> str:
    """The mean accuracies at the highest rate, such as '36.9 to 55.3 %'.

    ValueError without curves.
    """
    means = [100 * curve.test[-1].mean() for curve in curves]
    return f"{min(means):.1f} to {max(means):.1f} %"


def _or_chance(run: Run, column: str) -> float:
    """A run's accuracy at its end, or that of guessing if it diverged."""
    return 1 / run.data["classes"] if run.diverged else float(run.columns[column][-1])


@dataclass(frozen=True)
class Wider:
    """The claim that the window of `arm` is wider than that of `other`. No paper makes it."""

    arm: str
    other: str

    def verdict(self, curves: Mapping[str, Curve]) -> tuple[float, float, float, str]:
        """The difference of the mean widths in octaves, its 95 % interval, and the verdict.

        That is wider, gain below the margin, narrower or undecided, by the rule of "better
        than".
        """
        ours, others = curves[self.arm].widths, curves[self.other].widths
        word, _ = verdict("better than", ours, others, OCTAVES)
        words = {"better": "wider", "worse": "narrower"}
        difference = float(np.mean(ours) - np.mean(others))
        return difference, *interval(ours, others), words.get(word, word)


@dataclass(frozen=True)
class LiesIn:
    """The claim that a rate, which `what` describes, lies in the window of `arm`."""

    arm: str
    what: str

    def verdict(self, curves: Mapping[str, Curve], rate: float) -> tuple[int, int, str]:
        """How many seeds' windows contain the rate, how many seeds there are, and the verdict.

        That is inside, if the exact 95 % interval of the share of windows that contain it is
        above one half, outside, if it is below, else undecided.
        """
        from scipy import stats  # takes half a second to import

        found = [low <= rate <= high for low, high in curves[self.arm].windows]
        share = stats.binomtest(sum(found), len(found)).proportion_ci()
        word = "inside" if share.low > 0.5 else "outside" if share.high < 0.5 else "undecided"
        return sum(found), len(found), word


def _change(curve: Curve, rate: float) -> str:
    """What another rate than the chosen one changes, in points, as text."""
    points = 100 * (curve.at(rate) - curve.at(curve.chosen))
    return "–" if isnan(points) else f"{points:+.1f}"


def results(curves: Mapping[str, Curve]) -> pd.DataFrame:
    """One row per schedule, as text: its chosen rate, its accuracy there, its window.

    Accuracies are in percent, mean ± sd over the seeds. The columns "at half of it" and "at
    twice of it" hold what half and twice the chosen rate change, in points. A window is from
    the geometric mean of the seeds' lowest rates to that of their highest; its width is in
    octaves, mean ± sd.
    `failed` counts the runs that did, at all rates together.
    """
    rows = []
    for name, curve in curves.items():
        at = curve.rates.index(curve.chosen)
        low, high = (
            float(2 ** np.mean(np.log2(each))) for each in zip(*curve.windows, strict=True)
        )
        rows.append(
            {
                "schedule": name,
                "chosen rate": f"{curve.chosen:g}" + " (edge of the grid)" * curve.at_edge,
                "test accuracy there, %": Summary(tuple(curve.test[at])).text(),
                "at half of it": _change(curve, curve.chosen / 2),
                "at twice of it": _change(curve, curve.chosen * 2),
                "window": f"{low:.4f} to {high:.4f}",
                "width, octaves": Summary(tuple(curve.widths)).text(times=1),
                "n": len(curve.widths),
                "failed": sum(curve.failed),
            }
        )
    columns = [*rows[0]] if rows else ["schedule", "chosen rate", "n"]
    return pd.DataFrame(rows, columns=columns).set_index("schedule")


def table(
    claims: Sequence[Wider | LiesIn],
    curves: Mapping[str, Curve],
    rate: float | None,
    planned: int,
) -> pd.DataFrame:
    """The verdicts on claims about windows, as text; 'not run' where a curve is missing.

    `rate` is the one that the claims of the kind `LiesIn` are about; they are 'not run' if it
    is None. A claim about fewer seeds per curve than `planned` is 'undecided'.
    """
    rows = []
    for claim in claims:
        if isinstance(claim, LiesIn):
            text, needed = f"{claim.what} lies in the window of {claim.arm}", {claim.arm}
        else:
            text = f"the window of {claim.arm} is wider than that of {claim.other}"
            needed = {claim.arm, claim.other}
        if not needed <= set(curves) or (isinstance(claim, LiesIn) and rate is None):
            said, word = "–", "not run"
        elif isinstance(claim, LiesIn):
            inside, n, word = claim.verdict(curves, rate)
            said = f"{rate:.4f}, in {inside} of {n} windows"
        else:
            difference, low, high, word = claim.verdict(curves)
            spread = "(no interval)" if isnan(low) else f"[{low:+.1f}, {high:+.1f}]"
            said = f"{difference:+.1f} octaves {spread}"
        if word != "not run" and min(len(curves[name].widths) for name in needed) < planned:
            word = "undecided"
        rows.append([text, said, word])
    return pd.DataFrame(rows, columns=["claim", "ours", "verdict"]).set_index("claim")
