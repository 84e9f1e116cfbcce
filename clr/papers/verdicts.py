"""What runs say: the summary of an arm's accuracies, and the verdict on a claim.

The rule. A claim compares two arms of one experiment. The runs give a 95 % interval for the
difference of the mean final test accuracies (Welch's, from the spread over the seeds of each
arm; paired if two iterations of the same runs are compared). With a margin m,

- "better than" is reproduced when the whole interval is above 0, and not reproduced when its
  upper end is below m and its lower end is not above 0;
- "not worse than" is reproduced when the whole interval is above -m, and not reproduced when it
  is below -m;
- "as good as" is reproduced when the whole interval is within m of 0, and not reproduced when
  it is outside of that;
- everything else is undecided. So is a claim with fewer runs than planned, a claim without an
  interval (an arm has only one run, or the runs of each arm are all equal), and a claim with a
  run that diverged (the result is then how many runs did).

A question of ours is a claim that no paper makes, so it cannot be reproduced: its verdict is
"yes" instead of "reproduced", and "no" instead of "not reproduced".

With the verdict we report whether it survives Holm's correction for all claims of the
experiment that have an interval, and whether the difference that the paper publishes lies in
our interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan, nan

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # scipy.stats takes half a second to import

from clr.papers import published
from clr.papers.experiment import MARGIN, RELATIONS, Claim, Experiment
from clr.printing import percent
from clr.runs import Run


@dataclass(frozen=True)
class Summary:
    """The accuracies of several runs at one moment, fractions, and how many had diverged.

    Runs that diverged at or before that moment are counted and not averaged.
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


ANSWERS = {"reproduced": "yes", "not reproduced": "no"}  # to a question of ours
LEVEL = 0.05  # the significance level of 95 % intervals


def _without_spread(ours: Sequence[float], others: Sequence[float], paired: bool) -> bool:
    """Whether there is no spread: only one run in an arm, or equal runs in each arm."""
    if min(len(ours), len(others)) < 2:
        return True
    spreads = [np.subtract(ours, others)] if paired else [ours, others]
    return max(map(np.ptp, spreads)) < 1e-12  # not 0, because of rounding


def _difference(ours, others, paired: bool) -> tuple[float, float, float]:
    """The difference of two means, its standard error, and its degrees of freedom.

    As in Student's test of two moments of the same runs, or in Welch's of two arms.
    """
    if paired:
        each = np.subtract(ours, others)
        return each.mean(), np.sqrt(each.var(ddof=1) / len(each)), len(each) - 1
    a, b = (np.var(arm, ddof=1) / len(arm) for arm in (ours, others))
    freedom = (a + b) ** 2 / (a**2 / (len(ours) - 1) + b**2 / (len(others) - 1))
    return np.mean(ours) - np.mean(others), np.sqrt(a + b), freedom


def interval(
    ours: Sequence[float], others: Sequence[float], *, paired: bool = False
) -> tuple[float, float]:
    """The 95 % interval of the difference of two means (Welch's; Student's, if in pairs).

    (nan, nan) if an arm has only one run, or if there is no spread (that can happen by chance).
    """
    if _without_spread(ours, others, paired):
        return nan, nan
    difference, error, freedom = _difference(ours, others, paired)
    half = stdtrit(freedom, 1 - LEVEL / 2) * error
    return float(difference - half), float(difference + half)


def decide(relation: str, low: float, high: float, margin: float = MARGIN) -> str:
    """'reproduced', 'not reproduced' or 'undecided', from the difference's interval."""
    if isnan(low):
        return "undecided"
    claimed = RELATIONS[relation]
    least, most = (margin * each for each in claimed.allowed)
    if least < low and high < most:
        return "reproduced"
    least, most = (margin * each for each in claimed.needed)
    return "not reproduced" if high < least or most < low else "undecided"


def level(
    relation: str,
    ours: Sequence[float],
    others: Sequence[float],
    margin: float = MARGIN,
    *,
    paired: bool = False,
) -> float:
    """The smallest significance level at which `decide` is not "undecided".

    It is 0.05 if the 95 % interval just allows a verdict. In general, the interval at
    1 - `level` just touches the limit of the range that the verdict needs. NaN without an
    interval. Holm's correction is applied to these levels.
    """
    if _without_spread(ours, others, paired):
        return nan

    def beyond(bound: float, side: str) -> float:
        """Twice the p-value of a difference "greater" or "less" (`side`) than `bound`."""
        if np.isinf(bound):
            return 0.0 if (bound < 0) == (side == "greater") else 1.0
        difference, error, freedom = _difference(np.subtract(ours, bound), others, paired)
        t = difference / error
        return 2 * float(stdtr(freedom, -t if side == "greater" else t))

    claimed = RELATIONS[relation]
    least, most = (margin * each for each in claimed.allowed)
    within = max(beyond(least, "greater"), beyond(most, "less"))
    least, most = (margin * each for each in claimed.needed)
    outside = min(beyond(least, "less"), beyond(most, "greater"))
    return min(within, outside, 1.0)


def holm(levels: Sequence[float]) -> list[bool]:
    """Which of several verdicts survive Holm's correction; one without an interval does not."""
    order = sorted((p, i) for i, p in enumerate(levels) if not isnan(p))
    survive = [False] * len(levels)
    for rank, (p, i) in enumerate(order):
        if p >= LEVEL / (len(order) - rank):
            break
        survive[i] = True
    return survive


@dataclass(frozen=True)
class Verdict:
    """A claim, the results of its two arms, and the verdict that follows.

    `low` and `high` bound the difference of the means, a fraction; NaN without an interval.
    `planned` holds the numbers of runs that the claim's arms should have. `level` is that of
    `clr.papers.verdicts.level`, and `survives` says whether the verdict survives Holm's
    correction. `theirs` is the difference that the paper publishes, NaN where it does not
    publish both accuracies. `looked`: one of the arms got more seeds after a first look.
    """

    claim: Claim
    text: str
    ours: Summary
    others: Summary
    low: float
    high: float
    planned: tuple[int, int]
    level: float = nan
    survives: bool = False
    theirs: float = nan
    looked: bool = False

    @cached_property
    def difference(self) -> float:
        """The difference of the two means; NaN if an arm was not run or a run diverged."""
        if self.ours.diverged or self.others.diverged:
            return nan
        return self.ours.mean - self.others.mean

    @property
    def word(self) -> str:
        """'reproduced', 'not reproduced', 'undecided', or 'not run'.

        For a question of ours, 'yes' and 'no' instead of the first two.
        """
        if not (self.ours.n and self.others.n):
            return "not run"
        if self.ours.n < self.planned[0] or self.others.n < self.planned[1]:
            return "undecided"
        word = decide(self.claim.relation, self.low, self.high, self.claim.margin)
        return ANSWERS.get(word, word) if self.claim.control else word

    @property
    def decided(self) -> bool:
        """Whether the verdict is neither 'undecided' nor 'not run'."""
        return self.word not in ("undecided", "not run")

    @property
    def holm(self) -> str:
        """Whether a decided claim survives Holm's correction, as text: 'yes', 'no' or '–'."""
        return ("yes" if self.survives else "no") if self.decided else "–"

    @property
    def runs(self) -> str:
        """The numbers of runs, as text: '5, 5', or '3 of 5, 5' while some are missing.

        With '(second look)' where an arm got more seeds after its first ones had been seen.
        """
        counts = zip((self.ours.n, self.others.n), self.planned, strict=True)
        said = ", ".join(f"{n} of {plan}" if n < plan else f"{n}" for n, plan in counts)
        return said + " (second look)" * self.looked

    @property
    def published(self) -> str:
        """The published difference in points and whether our interval contains it, as text."""
        if isnan(self.theirs):
            return "–"
        said = f"{100 * self.theirs:+.{self.digits}f}"
        if isnan(self.low):
            return said
        # published numbers are rounded
        inside = self.low - 1e-9 <= self.theirs <= self.high + 1e-9
        return f"{said} ({'inside' if inside else 'outside'})"

    @property
    def digits(self) -> int:
        """The number of decimals, in points, that the claim's margin needs."""
        return 1 if self.claim.margin >= 0.001 else 2

    @property
    def points(self) -> str:
        """The difference in points of accuracy: '+1.2 [+0.3, +2.1]', or '–'."""
        if isnan(self.difference):
            return "–"
        values = (self.difference, self.low, self.high)
        text, low, high = (f"{100 * value:+.{self.digits}f}" for value in values)
        return f"{text} (no interval)" if isnan(self.low) else f"{text} [{low}, {high}]"


def _judge(
    experiment: Experiment,
    claim: Claim,
    runs: Mapping[str, Sequence[Run]],
    numbers: pd.Series,
) -> Verdict:
    """The verdict on one claim from the experiment's runs by arm, before Holm's correction."""
    ours, others = (Summary.of(runs.get(arm, ()), at) for arm, at in claim.moments)
    found = Verdict(
        claim,
        experiment.text(claim),
        ours,
        others,
        nan,
        nan,
        (experiment.plan(claim.arm), experiment.plan(claim.other)),
        theirs=_published(numbers, claim),
        looked=bool({claim.arm, claim.other} & set(experiment.second_look)),
    )
    if ours.diverged or others.diverged:
        return found
    both, paired = (ours.accuracies, others.accuracies), claim.arm == claim.other
    low, high = interval(*both, paired=paired)
    smallest = level(claim.relation, *both, claim.margin, paired=paired)
    return replace(found, low=low, high=high, level=smallest)


def _published(numbers: pd.Series, claim: Claim) -> float:
    """The difference of the accuracies that a paper publishes for two arms' ends, or NaN."""
    if claim.at is not None or claim.other_at is not None:
        return nan
    return float(numbers.get(claim.arm, nan) - numbers.get(claim.other, nan))


def verdicts(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> list[Verdict]:
    """The verdicts on all claims of an experiment, in order."""
    numbers = published.of(experiment)["accuracy"]
    found = [_judge(experiment, claim, runs, numbers) for claim in experiment.claims]
    survive = holm([verdict.level for verdict in found])
    return [replace(v, survives=each) for v, each in zip(found, survive, strict=True)]


def table(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """`verdicts` as text, one row per claim.

    The columns are the verdict, the difference in points with its interval, the published
    difference (only if the paper publishes both accuracies of a claim), n, whether the verdict
    survives Holm's correction ("–" if it is undecided), and who says it.
    """
    rows = [
        {
            "claim": v.text,
            "verdict": v.word,
            "difference": v.points,
            "published": v.published,
            "n": v.runs,
            "Holm": v.holm,
            "who says it": v.claim.source,
        }
        for v in verdicts(experiment, runs)
    ]
    columns = ["claim", "verdict", "difference", "published", "n", "Holm", "who says it"]
    if all(row["published"] == "–" for row in rows):
        columns.remove("published")
    return pd.DataFrame(rows, columns=columns).set_index("claim")
