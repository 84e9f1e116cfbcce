"""How much a result depends on the rate: accuracy against peak rate, and windows of good rates.

A schedule's window is the range of rates around its best one whose accuracy is within one
point of it, read off straight lines between the tested rates on a logarithmic axis. Its width
is in octaves: one octave is a factor of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from clr.papers.verdicts import decide, interval
from clr.runs import Run
from clr.training import VALIDATION

WITHIN = 0.01  # of accuracy
MARGIN = 0.5  # of an octave, for claims about widths


def window(
    rates: Sequence[float], accuracies: Sequence[float], within: float = WITHIN
) -> tuple[float, float]:
    """The lowest and the highest rate around the best one that are `within` its accuracy.

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
    """One schedule's accuracies, fractions, over its peak rates: (rates, seeds).

    A run that diverged counts with the accuracy of guessing; `diverged` says how many did at
    each rate. `validation` is what the rate is chosen by.
    """

    rates: tuple[float, ...]
    test: np.ndarray
    validation: np.ndarray
    diverged: tuple[int, ...]

    @classmethod
    def of(cls, runs: Mapping[float, Sequence[Run]]) -> Curve:
        """The curve of one schedule's runs by peak rate, as many seeds at each rate.

        ValueError where the numbers of seeds differ.
        """
        rates = tuple(sorted(runs))
        counts = {len(runs[rate]) for rate in rates}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(f"each rate must have as many runs; got {sorted(counts)}")

        def table(column: str) -> np.ndarray:
            return np.array([[_or_chance(run, column) for run in runs[r]] for r in rates])

        diverged = tuple(sum(run.diverged for run in runs[rate]) for rate in rates)
        return cls(rates, table("test_accuracy"), table(VALIDATION), diverged)

    @property
    def chosen(self) -> float:
        """The rate with the highest mean validation accuracy."""
        return self.rates[int(self.validation.mean(1).argmax())]

    @property
    def at_edge(self) -> bool:
        """Whether the chosen rate is the lowest or the highest of the grid."""
        return self.chosen in (self.rates[0], self.rates[-1])

    @property
    def windows(self) -> list[tuple[float, float]]:
        """The window of each seed, by test accuracy."""
        return [window(self.rates, column) for column in self.test.T]

    @property
    def widths(self) -> list[float]:
        """Their widths, in octaves."""
        return [log2(high / low) for low, high in self.windows]


def _or_chance(run: Run, column: str) -> float:
    """A run's accuracy at its end, or that of guessing if it diverged."""
    return 1 / run.data["classes"] if run.diverged else float(run.history[column].iloc[-1])


@dataclass(frozen=True)
class Wider:
    """The claim that the window of `arm` is wider than that of `other`."""

    arm: str
    other: str

    def verdict(self, curves: Mapping[str, Curve]) -> tuple[float, float, float, str]:
        """The difference of the mean widths in octaves, its 95 % interval, and the verdict."""
        ours, others = curves[self.arm].widths, curves[self.other].widths
        low, high = interval(ours, others)
        difference = float(np.mean(ours) - np.mean(others))
        return difference, low, high, decide("better than", low, high, MARGIN)


@dataclass(frozen=True)
class LiesIn:
    """The claim that a rate, which `what` describes, lies in the window of `arm`."""

    arm: str
    what: str

    def verdict(self, curves: Mapping[str, Curve], rate: float) -> tuple[int, int, str]:
        """In how many seeds' windows the rate lies, of how many, and the verdict.

        'reproduced' if it lies in all, 'not reproduced' if in none, 'undecided' else.
        """
        found = [low <= rate <= high for low, high in curves[self.arm].windows]
        word = {len(found): "reproduced", 0: "not reproduced"}.get(sum(found), "undecided")
        return sum(found), len(found), word
