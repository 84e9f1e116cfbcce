"""The papers' claims, and the rule that judges them by our runs.

The rule. A claim compares two arms of one experiment and allows a range for the difference
of their mean final test accuracies (`RELATIONS`). The runs give that difference a 95 % interval
(Welch's, from the spread over the seeds of each arm; in pairs where two moments of the same
runs are compared). The claim is

- reproduced when the whole interval lies in the allowed range,
- not reproduced when the whole interval lies outside of it,
- undecided else, and whenever an arm has one run only or no run differs from another: then
  there is no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np
import pandas as pd
from scipy import stats

from clr.runs import Run
from clr.training import RunConfig

MARGIN = 0.005  # half a point of accuracy
RELATIONS = {  # the differences allowed, in margins
    "better than": (0.0, inf),
    "not worse than": (-1.0, inf),
    "as good as": (-1.0, 1.0),
}


@dataclass(frozen=True)
class Claim:
    """`arm` is `relation` `other`, as `source` says ("control": asked by us, not by a paper).

    Arms are labels of an experiment. An arm counts at its end or, where `at` or `other_at`
    says so, at that iteration of the full protocol (a shorter one divides it). `margin` is a
    fraction of accuracy.
    """

    source: str
    arm: str
    relation: str
    other: str
    at: int | None = None
    other_at: int | None = None
    margin: float = MARGIN


TABLE1 = (
    Claim("Table 1", "triangular2", "not worse than", "fixed"),
    Claim("Table 1", "triangular2", "better than", "decay"),
    Claim("Table 1", "exp_range", "better than", "exp"),
    Claim("Table 1", "exp_range", "better than", "fixed"),
    Claim("section 3.1, Fig. 1", "triangular", "not worse than", "fixed"),
    Claim("section 3.1", "triangular2, Welch", "as good as", "triangular2"),
    Claim("section 3.1", "triangular2, Hann", "as good as", "triangular2"),
    Claim("section 3.2", "triangular", "better than", "triangular", 20_000, 22_000),
    Claim("abstract", "triangular2", "better than", "fixed", None, 25_000),
    Claim("control", "exp_range, stepsize 3,000", "better than", "fixed"),
    Claim("control", "exp_range, stepsize 3,000", "better than", "exp_range"),
    Claim("control", "triangular2", "better than", "step"),
    Claim("control", "triangular2", "better than", "cosine"),
    Claim("control", "triangular2", "better than", "triangular2, one stage"),
    Claim("control", "exp_range", "as good as", "exp_range, amplitude only"),
    Claim("control", "triangular2", "as good as", "triangular2, PyTorch's SGD"),
)

LAPTOP = (
    Claim("abstract", "triangular", "not worse than", "fixed"),
    Claim("abstract", "triangular", "better than", "fixed", None, 4000),
    Claim("Table 1", "exp_range", "better than", "fixed"),
    Claim("Table 1", "triangular2", "better than", "decay"),
    Claim("section 3.1", "triangular, Welch", "as good as", "triangular"),
    Claim("section 3.1", "triangular, Hann", "as good as", "triangular"),
    Claim("section 3.2", "triangular", "better than", "triangular", 2000, 3000),
    Claim("control", "triangular", "better than", "fixed at the mean"),
    Claim("control", "triangular", "better than", "decay"),
    Claim("control", "triangular", "better than", "step"),
    Claim("control", "triangular", "better than", "cosine"),
    Claim("control", "exp_range", "as good as", "exp_range, amplitude only"),
    Claim("control", "triangular", "as good as", "triangular, PyTorch's SGD"),
)

SUPERCONVERGENCE = (
    Claim("Fig. 1a", "one cycle", "better than", "step"),
    Claim("control", "one cycle", "better than", "step, the cycle's statistics"),
    Claim("control", "one cycle", "as good as", "one cycle, the step's statistics"),
    Claim("control", "one cycle", "as good as", "one cycle, whole batches"),
    Claim("control", "one cycle", "better than", "one cycle, up to 0.35"),
    Claim("control", "one cycle, down to 0", "better than", "one cycle"),
    Claim("control", "one cycle, down to 0", "better than", "cosine"),
    Claim("control", "one cycle", "better than", "step, squeezed"),
    Claim("control", "one cycle", "better than", "cosine"),
    Claim("control", "one cycle", "as good as", "1cycle"),
)

SUPERCONVERGENCE_MORE = tuple(
    Claim(source, f"one cycle, {which}", "better than", f"step, {which}")
    for source, each in (
        ("Table 1", ("40,000 images", "30,000 images", "20,000 images", "10,000 images")),
        ("Fig. 4b", ("resnet20", "resnet110")),
    )
    for which in each
)

STEPSIZE = (  # an epoch is 80 iterations
    Claim("section 3.2", "stepsize 160", "better than", "stepsize 80"),
    Claim("section 3.2", "stepsize 640", "not worse than", "stepsize 160"),
    Claim("section 3.2", "stepsize 640", "as good as", "stepsize 160", margin=0.01),
    Claim("section 3.2", "stepsize 640", "better than", "stepsize 1280"),
)

_MNIST = 0.0005  # MNIST's accuracies differ by hundredths of a point
MNIST = (
    Claim("Table 2", "1cycle, 85 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 50 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 25 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 12 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 12 epochs", "better than", "step", margin=_MNIST),
    Claim("Table 2", "step", "as good as", "inv", margin=_MNIST),
    Claim("control", "1cycle, 6 epochs", "not worse than", "inv", margin=_MNIST),
    Claim("control", "1cycle, 3 epochs", "not worse than", "inv", margin=_MNIST),
    Claim("control", "1cycle, 1 epoch", "not worse than", "inv", margin=_MNIST),
)


def interval(
    ours: Sequence[float], others: Sequence[float], *, paired: bool = False
) -> tuple[float, float]:
    """The 95 % interval of the difference of two means (Welch's; Student's, if in pairs).

    (nan, nan) if either n is 1, or where there is no spread at all: that is chance, too.
    """
    if min(len(ours), len(others)) < 2:
        return nan, nan
    if paired:
        ours, others = np.subtract(ours, others), [0.0, 0.0]
    shares = [np.var(each, ddof=1) / len(each) for each in (ours, others)]
    difference, error = (np.mean(ours) - np.mean(others), np.sqrt(sum(shares)))
    if error == 0:
        return nan, nan
    freedom = error**4 / sum(
        share**2 / (len(each) - 1) for share, each in zip(shares, (ours, others), strict=True)
    )
    half = error * stats.t.ppf(0.975, freedom)
    return float(difference - half), float(difference + half)


def verdict(relation: str, low: float, high: float, margin: float = MARGIN) -> str:
    """'reproduced', 'not reproduced' or 'undecided', from the difference's interval."""
    allowed = tuple(margin * each for each in RELATIONS[relation])
    if isnan(low):
        return "undecided"
    if allowed[0] < low and high < allowed[1]:
        return "reproduced"
    return "not reproduced" if high < allowed[0] or allowed[1] < low else "undecided"


def accuracies(runs: Sequence[Run], at: int) -> list[float]:
    """Each run's test accuracy at iteration `at`; KeyError if it was not tested there.

    A run that diverged before `at` counts with what it last had.
    """
    found = []
    for run in runs:
        tests = run.history.set_index("iteration")["test_accuracy"]
        over = run.ended != "finished" and at > tests.index[-1]
        found.append(run.final_accuracy if over else float(tests.loc[at]))
    return found


def judged(
    claims: Sequence[Claim],
    arms: Mapping[str, Sequence[RunConfig]],
    runs: Mapping[str, Sequence[Run]],
    *,
    shorter: int = 1,
) -> list[dict]:
    """What the runs say of each claim whose arms are in the experiment, as plain values.

    Keys: claim (the `Claim`), text, ours and others (final accuracies, one a run; empty if not
    run), difference (of the means, or None), low and high (its interval, NaN for n = 1) and
    verdict, or 'not run'. `shorter`: how many times shorter the experiment is than the full
    protocol.
    """
    found = []
    for claim in claims:
        if claim.arm not in arms or claim.other not in arms:
            continue
        ends = [
            (at // shorter if at else arms[arm][0].iterations)
            for arm, at in ((claim.arm, claim.at), (claim.other, claim.other_at))
        ]
        text = f"{claim.arm} at {ends[0]:,} is {claim.relation} {claim.other} at {ends[1]:,}"
        ours, others = (
            accuracies(runs.get(arm, ()), end)
            for arm, end in zip((claim.arm, claim.other), ends, strict=True)
        )
        row = {"claim": claim, "text": text, "ours": ours, "others": others}
        row |= {"difference": None, "low": nan, "high": nan, "verdict": "not run"}
        if ours and others:
            low, high = interval(ours, others, paired=claim.arm == claim.other)
            row |= {"low": low, "high": high}
            row["difference"] = float(np.mean(ours) - np.mean(others))
            row["verdict"] = verdict(claim.relation, low, high, claim.margin)
        found.append(row)
    return found


def points(row: Mapping) -> str:
    """A judged claim's difference in points of accuracy: '+1.2 [+0.3, +2.1]', or '–'."""
    if row["difference"] is None:
        return "–"
    digits = 1 if row["claim"].margin >= 0.001 else 2
    text, low, high = (f"{100 * row[k]:+.{digits}f}" for k in ("difference", "low", "high"))
    return f"{text} (no interval)" if isnan(row["low"]) else f"{text} [{low}, {high}]"


def verdicts(claims, arms, runs, *, shorter: int = 1) -> pd.DataFrame:
    """`judged` in print: a row a claim, with who says it, our difference in points of accuracy
    and its interval, n of both arms, and the verdict.
    """
    rows = [
        {
            "claim": row["text"],
            "who says it": row["claim"].source,
            "difference": points(row),
            "n": f"{len(row['ours'])}, {len(row['others'])}",
            "verdict": row["verdict"],
        }
        for row in judged(claims, arms, runs, shorter=shorter)
    ]
    columns = ["claim", "who says it", "difference", "n", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index("claim")
