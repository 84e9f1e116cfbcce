"""What runs say: the summary of an arm's accuracies, and the verdict on a claim.

The rule. A claim compares two arms of one experiment. The runs give a 95 % interval for the
difference of the mean final test accuracies: Welch's, from the spread over the seeds of each
arm, or Student's for pairs, where the runs of both arms have the same weights (two moments of
the same runs, or two tests of the same training). The verdict follows from the interval and the
margin m of the claim.

- "better than": better, when the interval is above 0 and not as a whole below m; gain below the
  margin, when it is below m and not as a whole below 0; worse, when it is below 0.
- "not worse than": not worse, when the interval is above -m; worse, when it is below -m.
- "as good as": as good, when the interval is within m of 0; different, when it is outside of
  that. Each end is a one-sided test at 5 %, so the interval is the 90 % interval.
- "as published": the same for the runs of one arm and the accuracy that the paper publishes
  for it.
- Everything else is undecided. So is a claim with fewer runs than planned, and a claim without
  an interval (an arm has only one run, or the runs of each arm are all equal).

A run that diverged counts against the claim of its arm. Where a larger share of the runs of the
first arm diverged than of the second, the verdict on "better than" and "not worse than" is
worse. Where a larger share of the second arm diverged, the claim holds if it holds for the runs
that did not diverge, and is undecided if not. "as good as" and "as published" get the verdict
different where the shares differ. Where the shares are equal, the runs that did not diverge are
compared.

A claim holds when its verdict is better, not worse, as good or as published, and does not hold
when it is gain below the margin, worse or different. A paper's claim that holds is reproduced.

With the verdict we report whether it survives Holm's correction for the primary claims of the
experiment (the claims of a paper, or all claims of an experiment without such claims), and
whether the difference that the paper publishes lies in our 95 % prediction interval: where the
difference of as many further runs as the paper averaged would lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # scipy.stats takes half a second to import

from clr.papers import published
from clr.papers.experiment import HOLDS, MARGIN, RELATIONS, Claim, Experiment
from clr.printing import percent
from clr.runs import Run


def _by_seed(*tested: tuple[Sequence[Run], int | None, str]) -> list[tuple]:
    """The values of two arms' runs with the same seed, in pairs; None for one that diverged."""
    ours, others = (
        {run.config.seed: run.value(column, at) for run in each} for each, at, column in tested
    )
    return [(ours[seed], others[seed]) for seed in ours if seed in others]


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
        cls,
        runs: Sequence[Run],
        at: int | None = None,
        column: str = "test_accuracy",
        minus: Sequence[Run] | None = None,
    ) -> Summary:
        """The summary of a column of `runs` at their end, or at iteration `at`.

        With `minus`, of the differences between runs with equal seeds: runs without a partner
        are left out, and a pair of which one diverged counts as diverged. KeyError if a run was
        not tested at that iteration.
        """
        found = [run.value(column, at) for run in runs]
        if minus is not None:
            pairs = _by_seed((runs, at, column), (minus, at, column))
            found = [None if None in pair else np.subtract(*pair) for pair in pairs]
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

    def text(self, digits: int = 1, times: float = 100) -> str:
        """In print, in percent: '79.0 ± 0.3', '99.2 (1 of 2 diverged)' or 'not run'.

        `times` is 1 for losses, which are printed as they are.
        """
        if not self.n:
            return "not run"
        rate = f" ({self.diverged} of {self.n} diverged)" if self.diverged else ""
        return percent(self.mean, self.sd, digits, times) + rate


LEVEL = 0.05  # the significance level of all tests
EQUIVALENCE = "as good as", "as published"  # relations that take two one-sided tests
# that of the interval that decides about a relation
CONFIDENCE = {each: 1 - LEVEL * (1 + (each in EQUIVALENCE)) for each in RELATIONS}
OPEN = "undecided", "not run"  # verdicts that decide nothing


def _difference(
    ours: Sequence[float],
    others: Sequence[float],
    paired: bool = False,
    averaged: tuple[int, int] | None = None,
) -> tuple[float, float, float]:
    """The difference of two means, its standard error, and its degrees of freedom.

    As in Student's test of two moments of the same runs, or in Welch's of two arms. With
    `averaged`, the error of means of so many further runs. All are NaN where there is no
    spread: only one run in an arm, or equal runs in each arm.
    """
    each = [np.subtract(ours, others)] if paired else [np.array(ours), np.array(others)]
    if min(map(len, each)) < 2 or max(map(np.ptp, each)) < 1e-12:  # not 0, because of rounding
        return nan, nan, nan
    if paired:
        (gains,) = each
        return gains.mean(), np.sqrt(gains.var(ddof=1) / len(gains)), len(gains) - 1
    n = np.array([len(arm) for arm in each])
    spreads = np.array([arm.var(ddof=1) for arm in each])
    parts = spreads * (1 / n + 1 / np.array(averaged)) if averaged else spreads / n
    freedom = parts.sum() ** 2 / (parts**2 / (n - 1)).sum()
    return each[0].mean() - each[1].mean(), np.sqrt(parts.sum()), freedom


def interval(
    ours: Sequence[float],
    others: Sequence[float],
    *,
    paired: bool = False,
    confidence: float = 1 - LEVEL,
) -> tuple[float, float]:
    """The 95 % interval of the difference of two means (Welch's; Student's, if in pairs).

    (nan, nan) if an arm has only one run, or if there is no spread (that can happen by chance).
    """
    return _ends(_difference(ours, others, paired), confidence)


def _ends(found: tuple[float, float, float], confidence: float) -> tuple[float, float]:
    difference, error, freedom = found
    half = stdtrit(freedom, (1 + confidence) / 2) * error
    return float(difference - half), float(difference + half)


def prediction(
    ours: Sequence[float], others: Sequence[float], averaged: tuple[int, int] = (1, 1)
) -> tuple[float, float]:
    """The 95 % prediction interval of the difference of one further run of each arm.

    With `averaged`, of the means of so many further runs. As in Welch's test, each arm has a
    spread of its own. (nan, nan) where `interval` is.
    """
    return _ends(_difference(ours, others, averaged=averaged), 1 - LEVEL)


def verdict(
    relation: str,
    ours: Sequence[float],
    others: Sequence[float],
    margin: float = MARGIN,
    *,
    paired: bool = False,
) -> tuple[str, float]:
    """The verdict, and its p-value, on a claim about arms whose larger values are better.

    The p-value is the level at which the interval just touches the limit of the verdict's
    range; that of "undecided" is the smallest one of the possible verdicts. Holm's correction
    is applied to these values. NaN without an interval.
    """
    difference, error, freedom = _difference(ours, others, paired)
    if isnan(error):
        return "undecided", nan
    sides = 1 if relation in EQUIVALENCE else 2
    found = []
    for word, low, high in RELATIONS[relation]:
        ends = (low, -1), (high, 1)  # how far beyond the lower end, the upper end
        t = max(s * (difference - margin * end) / error for end, s in ends if np.isfinite(end))
        found.append((word, min(sides * float(stdtr(freedom, t)), 1.0)))
    undecided = "undecided", min(p for _, p in found)
    return next(((word, p) for word, p in found if p < LEVEL), undecided)


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several verdicts survive Holm's correction; one without an interval does not."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not isnan(p))
    survive = [False] * len(p_values)
    for rank, (p, i) in enumerate(order):
        if p >= LEVEL / (len(order) - rank):
            break
        survive[i] = True
    return survive


def data_and_devices(runs: Iterable[Run]) -> dict[str, str]:
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

    `runs` are the experiment's, by arm. Every table, figure and file shows these rows. Lists
    have one value per arm; None is a value that there is not.

    The claim: claim (a sentence), arm and other (its two arms), statement (the paper's sentence
    that it tests), experiment, protocol (CLR, SC or ours), paper (that the experiment is
    about), breaks (the paper's conditions that the protocol breaks), source, control, primary,
    written (before its runs, one arm known, or after them), relation, margin, command (that
    trains all arms that decide it).
    The runs: n, diverged, n_text ('5, 5', or '3 of 5, 5' while some are missing), ours (the
    accuracies as text), data, device.
    The comparison: difference, low and high (its interval; fractions or, for losses, nats),
    confidence (of the interval), measure (accuracy or loss), points (the same as text).
    The paper: theirs (the published accuracies as text), published_difference, predicted (the
    two ends of our prediction interval), published (the difference as text, and whether this
    interval contains it).
    The verdict: verdict, holds (None if it is undecided), p, holm (whether the verdict survives
    Holm's correction: yes, no, – where nothing is decided by a test, or secondary).
    """
    numbers = published.of(experiment)
    rows = [_row(experiment, claim, runs, numbers) for claim in experiment.claims]
    primary = [row for row in rows if row["primary"]]
    survive = holm([nan if row["p"] is None else row["p"] for row in primary])
    for row, survives in zip(primary, survive, strict=True):
        decided = row["holds"] is not None and row["p"] is not None
        row["holm"] = ("yes" if survives else "no") if decided else "–"
    return rows


# the attributes of a claim that its row shows as they are
FIELDS = "arm", "other", "relation", "margin", "statement", "control", "source", "written"


def _row(
    experiment: Experiment,
    claim: Claim,
    runs: Mapping[str, Sequence[Run]],
    numbers: pd.DataFrame,
) -> dict:
    """The verdict on one claim, before Holm's correction."""
    published_alone, paired = claim.relation == "as published", experiment.paired(claim)
    sides = claim.sides[:1] if published_alone else claim.sides
    arms = [arm for arm, *_ in sides]
    tested = [
        (runs.get(arm, ()), at, column)
        for (arm, at, *_), column in zip(sides, experiment.columns(claim), strict=False)
    ]
    summaries = [
        Summary.of(*each, minus and runs.get(minus, ()))
        for each, (*_, minus) in zip(tested, sides, strict=True)
    ]
    counts = [(each.n, experiment.plan(arm)) for each, arm in zip(summaries, arms, strict=True)]
    values = [each.accuracies for each in summaries]
    if published_alone:
        values.append((float(numbers["accuracy"][claim.arm]),) * len(values[0]))
    elif paired:
        pairs = [pair for pair in _by_seed(*tested) if None not in pair]
        values = [[pair[side] for pair in pairs] for side in (0, 1)]
    word, p, difference, low, high = _compared(experiment, claim, summaries, values, paired)
    if not all(n for n, _ in counts):
        word = "not run"
    elif any(n < planned for n, planned in counts):
        word = "undecided"
    n_text = ", ".join(f"{n} of {plan}" if n < plan else f"{n}" for n, plan in counts)
    digits, times = _decimals(experiment, claim)
    return {
        "claim": experiment.text(claim),
        "verdict": word,
        "holds": None if word in OPEN else word in HOLDS,
        "holm": "secondary",
        "points": _points(claim, summaries, (difference, low, high), digits, times),
        **_published(sides, numbers, values, digits),
        "ours": " / ".join(each.text(digits, times) for each in summaries),
        "n": [n for n, _ in counts],
        "n_text": n_text
        + " (second look)" * (not set(claim.arms).isdisjoint(experiment.second_look)),
        "diverged": [each.diverged for each in summaries],
        "difference": or_none(difference),
        "low": or_none(low),
        "high": or_none(high),
        "confidence": CONFIDENCE[claim.relation],
        "measure": experiment.measure,
        "p": or_none(p),
        "primary": experiment.primary(claim),
        "experiment": experiment.name,
        "protocol": experiment.protocol,
        "paper": experiment.paper,
        "breaks": list(experiment.breaks),
        **{key: getattr(claim, key) for key in FIELDS},
        **data_and_devices(run for arm in claim.arms for run in runs.get(arm, ())),
        "command": experiment.command(claim.arms),
    }


def _compared(
    experiment: Experiment,
    claim: Claim,
    summaries: Sequence[Summary],
    values: Sequence[Sequence],
    paired: bool,
) -> tuple[str, float, float, float, float]:
    """The verdict, its p-value, the difference of the means and the two ends of its interval.

    NaN for a value that there is not.
    """
    failed = [each.diverged / max(each.n, 1) for each in summaries]
    ours, others = (*failed, 0.0)[:2]  # what is published has not diverged
    equivalence = claim.relation in EQUIVALENCE
    if ours > others or (equivalence and ours < others):
        return "different" if equivalence else "worse", nan, nan, nan, nan
    if not all(map(len, values)):
        return "undecided", nan, nan, nan, nan
    gains = values if experiment.measure == "accuracy" else values[::-1]
    word, p = verdict(claim.relation, *gains, claim.margin, paired=paired)
    if ours < others and word not in HOLDS:
        word, p = "undecided", nan
    ends = interval(*values, paired=paired, confidence=CONFIDENCE[claim.relation])
    return word, p, float(np.mean(values[0]) - np.mean(values[1])), *ends


def _decimals(experiment: Experiment, claim: Claim) -> tuple[int, float]:
    """The number of decimals in print, and the factor to the unit: percent, or nats."""
    if experiment.measure == "loss":
        return 3, 1
    return 1 if claim.margin >= 0.001 else 2, 100


def _points(
    claim: Claim,
    summaries: Sequence[Summary],
    found: Sequence[float],
    digits: int,
    times: float,
) -> str:
    """A difference and the ends of its interval: '+1.2 [+0.3, +2.1]'; losses are in nats.

    '–' without a difference, or how many runs diverged if that is the reason.
    """
    if isnan(found[0]):
        gone = [f"{each.diverged} of {each.n} diverged" for each in summaries if each.diverged]
        return ", ".join(gone) or "–"
    text, low, high = (f"{times * value:+.{digits}f}" for value in found)
    if isnan(found[1]):
        return f"{text} (no interval)"
    confidence = f" ({100 * CONFIDENCE[claim.relation]:.0f} %)"
    said = confidence if claim.relation in EQUIVALENCE else ""
    return f"{text} [{low}, {high}]{said}"


def _published(
    sides: Sequence[tuple], numbers: pd.DataFrame, values: Sequence[Sequence], digits: int
) -> dict:
    """The published accuracies of the arms' ends, and whether our runs predict the difference.

    That of one arm is the difference of the published accuracy from itself, 0.
    """
    ends = [arm for arm, at, second, _ in sides if at is None and not second]
    known = numbers["accuracy"].dropna().to_dict()
    if len(ends) < len(sides) or not known.keys() >= set(ends):
        none = dict.fromkeys(("published_difference", "predicted"))
        return {"theirs": "–", **none, "published": "–"}
    accuracies, averaged = [known[arm] for arm in ends], [numbers["runs"][arm] for arm in ends]
    difference = accuracies[0] - accuracies[-1]
    low, high = prediction(*values, (averaged[0], averaged[-1]))
    said = f"{100 * difference:+.{digits}f}"
    if not isnan(low):  # published numbers are rounded
        inside = low - 1e-9 <= difference <= high + 1e-9
        said += " (inside)" if inside else " (outside)"
    return {
        "theirs": " / ".join(percent(each, None, digits) for each in accuracies),
        "published_difference": difference,
        "predicted": None if isnan(low) else [low, high],
        "published": said,
    }


# columns that are not called like their key in a row of `judge`
HEADS = {
    "points": "difference",
    "theirs": "paper",
    "n_text": "n",
    "holm": "Holm",
    "source": "who says it",
}


def table(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """The rows of `judge` as text; "published" is left out where nothing is published."""
    rows = judge(experiment, runs)
    columns = ["claim", "verdict", "points", "published", "n_text", "holm", "written", "source"]
    if all(row["published"] == "–" for row in rows):
        columns.remove("published")
    return pd.DataFrame(rows, columns=columns).rename(columns=HEADS).set_index("claim")
