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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

    Runs that diverged at or before that moment are counted and not averaged. Where an
    experiment compares losses, they are losses in nats.
    """

    accuracies: tuple[float, ...]
    diverged: int = 0

    @classmethod
    def of(
        cls, runs: Sequence[Run], at: int | None = None, column: str = "test_accuracy"
    ) -> Summary:
        """The summary of a column of `runs` at their end, or at iteration `at`.

        KeyError if a run was not tested at that iteration.
        """
        found = [run.value(column, at) for run in runs]
        there = tuple(value for value in found if value is not None)
        return cls(there, len(found) - len(there))

    @classmethod
    def of_differences(cls, runs: Sequence[Run], minus: Sequence[Run], column: str) -> Summary:
        """The summary of the differences at the end between runs with equal seeds.

        Runs without a partner are left out; a pair of which one diverged counts as diverged.
        """
        others = {run.config.seed: run.value(column) for run in minus}
        pairs = [
            (run.value(column), others[run.config.seed])
            for run in runs
            if run.config.seed in others
        ]
        there = tuple(a - b for a, b in pairs if a is not None and b is not None)
        return cls(there, len(pairs) - len(there))

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
OPEN = "undecided", "not run"  # verdicts that decide nothing
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


def p_value(
    relation: str,
    ours: Sequence[float],
    others: Sequence[float],
    margin: float = MARGIN,
    *,
    paired: bool = False,
) -> float:
    """The smallest significance level at which `decide` is not "undecided".

    It is 0.05 if the 95 % interval just allows a verdict. In general, the interval at
    1 - p just touches the limit of the range that the verdict needs. NaN without an
    interval. Holm's correction is applied to these values.
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


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several verdicts survive Holm's correction; one without an interval does not."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not isnan(p))
    survive = [False] * len(p_values)
    for rank, (p, i) in enumerate(order):
        if p >= LEVEL / (len(order) - rank):
            break
        survive[i] = True
    return survive


def made(runs: Iterable[Run]) -> dict[str, str]:
    """The data sets and the devices of these runs, as text."""
    each = list(runs)
    return {
        "data": "; ".join(sorted({run.config.source.title for run in each})) or "–",
        "device": "; ".join(sorted({run.provenance["device"] for run in each})) or "–",
    }


def or_none(value: float) -> float | None:
    """The same value; None for NaN, which JSON does not have."""
    return None if isnan(value) else value


def judge(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> list[dict]:
    """The verdicts on all claims of an experiment, one row of plain values per claim, in order.

    `runs` are the experiment's, by arm. Every table, figure and file shows these rows.

    The claim: claim (a sentence), arm and other (its two arms), statement (the paper's sentence
    that it tests, or None), experiment, protocol (CLR, SC or ours), paper (that the experiment
    is about), breaks (the paper's conditions that the protocol breaks), source, control,
    relation, margin, command (that trains its arms).
    The runs: ours (the two arms' accuracies as text), n and diverged (runs of each arm),
    n_text ('5, 5', or '3 of 5, 5' while some are missing), data, device.
    The comparison: difference, low and high (fractions or, for losses, nats; None without an
    interval), points (the same as text), theirs (the two published accuracies as text),
    published_difference (None unless the paper publishes both), published (the same as text,
    and whether our interval contains it).
    The verdict: verdict, holm (whether it survives Holm's correction: yes, no or –).
    """
    accuracies = published.of(experiment)["accuracy"]
    rows = [_row(experiment, claim, runs, accuracies) for claim in experiment.claims]
    survive = holm([row.pop("p") for row in rows])
    for row, survives in zip(rows, survive, strict=True):
        row["holm"] = "–" if row["verdict"] in OPEN else "yes" if survives else "no"
    return rows


def _row(
    experiment: Experiment, claim: Claim, runs: Mapping[str, Sequence[Run]], accuracies
) -> dict:
    """The verdict on one claim, before Holm's correction."""
    arms = claim.arm, claim.other
    ours, others = both = [
        Summary.of_differences(runs.get(arm, ()), runs.get(minus, ()), column)
        if minus
        else Summary.of(runs.get(arm, ()), at, column)
        for (arm, at, _, minus), column in zip(
            claim.sides, experiment.columns(claim), strict=True
        )
    ]
    if claim.relation == "as published":
        others = both[1] = Summary((float(accuracies[claim.arm]),) * len(ours.accuracies))
    n, planned = [each.n for each in both], [experiment.plan(arm) for arm in arms]
    difference = low = high = p = nan
    gains = nan, nan  # the interval, with larger values for better arms
    if not (ours.diverged or others.diverged):
        values, paired = (ours.accuracies, others.accuracies), claim.arm == claim.other
        difference = ours.mean - others.mean
        low, high = gains = interval(*values, paired=paired)
        if experiment.measure == "loss":
            values, gains = values[::-1], (-high, -low)
        p = p_value(claim.relation, *values, claim.margin, paired=paired)
    if not all(n):
        word = "not run"
    elif n[0] < planned[0] or n[1] < planned[1]:
        word = "undecided"
    else:
        word = decide(claim.relation, *gains, claim.margin)
    digits = 1 if claim.margin >= 0.001 else 2
    theirs = [accuracies.get(arm, nan) for arm, at, *_ in claim.sides if at is None]
    publishes = len(theirs) == 2 and not any(map(isnan, theirs))
    published_difference = float(theirs[0] - theirs[1]) if publishes else nan
    looked = bool(set(arms) & set(experiment.second_look))
    return {
        "claim": experiment.text(claim),
        "verdict": ANSWERS.get(word, word) if claim.control else word,
        "points": _points(difference, low, high, experiment.measure, digits),
        "published": _published(published_difference, low, high, digits),
        "ours": " / ".join(each.text(digits) for each in both),
        "theirs": " / ".join(percent(each, None, digits) for each in theirs if publishes)
        or "–",
        "n": n,
        "n_text": ", ".join(
            f"{n} of {plan}" if n < plan else f"{n}" for n, plan in zip(n, planned, strict=True)
        )
        + " (second look)" * looked,
        "difference": or_none(difference),
        "low": or_none(low),
        "high": or_none(high),
        "published_difference": or_none(published_difference),
        "p": p,
        "diverged": [each.diverged for each in both],
        "experiment": experiment.name,
        "protocol": experiment.protocol,
        "paper": experiment.paper,
        "breaks": list(experiment.breaks),
        "arm": claim.arm,
        "other": claim.other,
        "relation": claim.relation,
        "margin": claim.margin,
        "statement": claim.statement,
        "control": claim.control,
        "source": experiment.source(claim),
        **made(run for arm in arms for run in runs.get(arm, ())),
        "command": experiment.command(arms),
    }


def _points(difference: float, low: float, high: float, measure: str, digits: int) -> str:
    """The difference in points of accuracy: '+1.2 [+0.3, +2.1]', or '–'; losses in nats."""
    if isnan(difference):
        return "–"
    times, digits = (100, digits) if measure == "accuracy" else (1, 3)
    text, least, most = (f"{times * value:+.{digits}f}" for value in (difference, low, high))
    return f"{text} (no interval)" if isnan(low) else f"{text} [{least}, {most}]"


def _published(difference: float, low: float, high: float, digits: int) -> str:
    """The published difference in points and whether our interval contains it, as text."""
    if isnan(difference):
        return "–"
    said = f"{100 * difference:+.{digits}f}"
    if isnan(low):
        return said
    inside = low - 1e-9 <= difference <= high + 1e-9  # published numbers are rounded
    return f"{said} ({'inside' if inside else 'outside'})"


def table(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """The rows of `judge` as text, without the column "published" where nothing is published.

    "Holm" says whether a verdict survives Holm's correction ("–" if it is undecided).
    """
    rows = [
        row | ({"source": "control"} if row["control"] else {})
        for row in judge(experiment, runs)
    ]
    shown = {
        "claim": "claim",
        "verdict": "verdict",
        "points": "difference",
        "published": "published",
        "n_text": "n",
        "holm": "Holm",
        "source": "who says it",
    }
    if all(row["published"] == "–" for row in rows):
        del shown["published"]
    found = pd.DataFrame(rows, columns=list(shown)).rename(columns=shown)
    return found.set_index("claim")
