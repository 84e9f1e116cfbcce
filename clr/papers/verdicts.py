"""What runs say: the summary of an arm's accuracies, and the verdict on a claim.

The rule. A claim compares two arms of one experiment and allows a range for the difference
of their mean final test accuracies (`clr.papers.experiment.RELATIONS`). The runs give that
difference a 95 % interval (Welch's, from the spread over the seeds of each arm; in pairs where
two moments of the same runs are compared). The claim is

- reproduced when the whole interval lies in the allowed range,
- not reproduced when the whole interval lies outside of it,
- undecided else, and whenever there is no interval: an arm has one run only, no run differs
  from another, or a run of either arm diverged (then how often that happens is the result).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan

import numpy as np
import pandas as pd
from scipy import stats

from clr.papers.experiment import MARGIN, RELATIONS, Claim, Experiment
from clr.printing import percent
from clr.runs import Run


@dataclass(frozen=True)
class Summary:
    """The accuracies of several runs at one moment, fractions, and how many had diverged.

    Runs that diverged before that moment are counted and not averaged.
    """

    accuracies: tuple[float, ...]
    diverged: int = 0

    @classmethod
    def of(cls, runs: Sequence[Run], at: int | None = None) -> Summary:
        """The summary of `runs` at their end, or at iteration `at`.

        KeyError if a run was not tested at that iteration.
        """
        if at is None:
            found = [None if run.diverged else run.final_accuracy for run in runs]
        else:
            found = [run.accuracy_at(at) for run in runs]
        there = tuple(value for value in found if value is not None)
        return cls(there, len(found) - len(there))

    @property
    def n(self) -> int:
        """How many runs there are, diverged ones included."""
        return len(self.accuracies) + self.diverged

    @property
    def mean(self) -> float:
        """The mean of the runs that did not diverge; NaN if there is none."""
        return float(np.mean(self.accuracies)) if self.accuracies else nan

    @property
    def sd(self) -> float:
        """Their standard deviation; NaN for fewer than two."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else nan

    def text(self, digits: int = 1) -> str:
        """In print, in percent: '79.0 ± 0.3', '99.2 (1 of 2 diverged)' or 'not run'."""
        if not self.n:
            return "not run"
        rate = f" ({self.diverged} of {self.n} diverged)" if self.diverged else ""
        return percent(self.mean, self.sd, digits) + rate


def interval(
    ours: Sequence[float], others: Sequence[float], *, paired: bool = False
) -> tuple[float, float]:
    """The 95 % interval of the difference of two means (Welch's; Student's, if in pairs).

    (nan, nan) if either n is 1, or where there is no spread at all: that is chance, too.
    """
    if min(len(ours), len(others)) < 2:
        return nan, nan
    spreads = [np.subtract(ours, others)] if paired else [ours, others]
    if max(map(np.ptp, spreads)) < 1e-12:  # not 0, because of rounding
        return nan, nan
    if paired:
        found = stats.ttest_rel(ours, others).confidence_interval(0.95)
    else:
        found = stats.ttest_ind(ours, others, equal_var=False).confidence_interval(0.95)
    return float(found.low), float(found.high)


def decide(relation: str, low: float, high: float, margin: float = MARGIN) -> str:
    """'reproduced', 'not reproduced' or 'undecided', from the difference's interval."""
    allowed = tuple(margin * each for each in RELATIONS[relation])
    if isnan(low):
        return "undecided"
    if allowed[0] < low and high < allowed[1]:
        return "reproduced"
    return "not reproduced" if high < allowed[0] or allowed[1] < low else "undecided"


@dataclass(frozen=True)
class Verdict:
    """A claim, what the runs of its two arms came to, and what follows.

    `low` and `high` bound the difference of the means, a fraction; NaN without an interval.
    """

    claim: Claim
    text: str
    ours: Summary
    others: Summary
    low: float
    high: float

    @cached_property
    def difference(self) -> float:
        """The difference of the two means; NaN if an arm was not run or a run diverged."""
        if self.ours.diverged or self.others.diverged:
            return nan
        return self.ours.mean - self.others.mean

    @property
    def word(self) -> str:
        """'reproduced', 'not reproduced', 'undecided', or 'not run'."""
        if not (self.ours.n and self.others.n):
            return "not run"
        return decide(self.claim.relation, self.low, self.high, self.claim.margin)

    @property
    def digits(self) -> int:
        """How many decimals of a point the claim's margin asks for."""
        return 1 if self.claim.margin >= 0.001 else 2

    @property
    def points(self) -> str:
        """The difference in points of accuracy: '+1.2 [+0.3, +2.1]', or '–'."""
        if isnan(self.difference):
            return "–"
        values = (self.difference, self.low, self.high)
        text, low, high = (f"{100 * value:+.{self.digits}f}" for value in values)
        return f"{text} (no interval)" if isnan(self.low) else f"{text} [{low}, {high}]"


def judge(experiment: Experiment, claim: Claim, runs: Mapping[str, Sequence[Run]]) -> Verdict:
    """The verdict of an experiment's runs, by arm, on one of its claims."""
    ours, others = (Summary.of(runs.get(arm, ()), at) for arm, at in claim.moments)
    low = high = nan
    if not (ours.diverged or others.diverged):
        paired = claim.arm == claim.other
        low, high = interval(ours.accuracies, others.accuracies, paired=paired)
    return Verdict(claim, experiment.text(claim), ours, others, low, high)


def verdicts(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> list[Verdict]:
    """The verdicts on all claims of an experiment, in order."""
    return [judge(experiment, claim, runs) for claim in experiment.claims]


def table(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """`verdicts` in print, one row per claim: who says it, the difference in points, n."""
    columns = ["claim", "who says it", "difference", "n", "verdict"]
    rows = [
        [v.text, v.claim.source, v.points, f"{v.ours.n}, {v.others.n}", v.word]
        for v in verdicts(experiment, runs)
    ]
    return pd.DataFrame(rows, columns=columns).set_index("claim")
