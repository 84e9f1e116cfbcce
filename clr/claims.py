"""What the papers publish, beside what our runs say, and the rule that judges a claim.

The rule. A claim compares two arms of one experiment and allows a range for the difference
of their mean final test accuracies (`RELATIONS`). The runs give that difference a 95 % interval
(Welch's, from the spread over the seeds of each arm). The claim is

- reproduced when the whole interval lies in the allowed range,
- not reproduced when the whole interval lies outside of it,
- undecided else, and whenever an arm has one run only: n = 1 has no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np
import pandas as pd
from scipy import stats

from clr import checks
from clr.data import ROOT
from clr.runs import Run
from clr.training import RunConfig

_TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "folder:cifar10-jpeg": "CIFAR-10 (JPEG copy)",
}


def published(place: str, dataset: str = "CIFAR-10") -> pd.DataFrame:
    """The published numbers of one table or figure, from `data/published.csv`.

    Accuracies and standard deviations are fractions; a range test's row has bounds instead.
    Raises ValueError, naming the places (or the data sets) there are.
    """
    types = {"paper": str, "iterations": "Int64", "epochs": "Int64"}
    rows = pd.read_csv(ROOT / "data" / "published.csv", dtype=types)
    for column, value in (("place", place), ("dataset", dataset)):
        checks.one_of(column, value, rows[column].unique())
        rows = rows[rows[column] == value]
    return rows.reset_index(drop=True)


def percent(mean: float, sd: float | None = None, digits: int = 1) -> str:
    """A fraction as printed: '81.4' or '81.4 ± 0.3'; '–' for a missing value."""
    if pd.isna(mean):
        return "–"
    text = f"{100 * mean:.{digits}f}"
    return text if sd is None or pd.isna(sd) else f"{text} ± {100 * sd:.{digits}f}"


def first_at(run: Run, accuracy: float) -> float:
    """The first recorded iteration with at least that test accuracy; NaN if never."""
    reached = run.history.loc[run.history["test_accuracy"] >= accuracy, "iteration"]
    return float(reached.iloc[0]) if len(reached) else float("nan")


def summary(runs: Mapping[str, Sequence[Run]], *, reach: float) -> pd.DataFrame:
    """One row a label: n, final test accuracy (mean ± sd, in percent), iterations, and
    the median iteration at which test accuracy first reached `reach` (a fraction).
    """
    rows = []
    for label, seeds in runs.items():
        finals = pd.Series([run.final_accuracy for run in seeds])
        reached = pd.Series([first_at(run, reach) for run in seeds])
        median = reached.fillna(float("inf")).median()
        rows.append(
            {
                "policy": label,
                "iterations": seeds[0].config.iterations,
                "n": len(seeds),
                "final accuracy, %": percent(finals.mean(), finals.std()),
                f"reached {100 * reach:g} %": f"{int(reached.notna().sum())} of {len(seeds)}",
                "at iteration (median)": "–" if median == float("inf") else f"{median:.0f}",
            }
        )
    return pd.DataFrame(rows).set_index("policy")


def data_name(run: Run) -> str:
    """What the run's data is called in print."""
    name = run.data["name"]
    return _TITLES.get(name, name.removeprefix("folder:"))


def made_on(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """A line for each data set and machine: 'CIFAR-10 (50,000 images), on a CPU …'."""
    return sorted(
        {
            f"{data_name(run)} ({run.data['train']:,} + {run.data['test']:,} images), "
            f"on a {run.provenance['device']}, threads: {run.provenance['threads']}, "
            f"torch {run.provenance['torch']}"
            for each in runs.values()
            for run in each
        }
    )


def _length(row) -> str:
    """How long a published run was: its iterations or epochs, as far as they are given."""
    if row is None or (pd.isna(row.iterations) and pd.isna(row.epochs)):
        return "–"
    return f"{row.epochs} epochs" if pd.isna(row.iterations) else f"{row.iterations:,}"


def table(
    place: str, arms: Mapping[str, Sequence[RunConfig]], runs: Mapping[str, Sequence[Run]]
) -> pd.DataFrame:
    """One row an arm: what `place` publishes for it, and our runs of it, or 'not run'.

    Accuracies are in percent, ours mean ± sd; hours are those of one run.
    """
    paper = published(place).set_index("policy")
    rows = []
    for arm, configs in arms.items():
        theirs = paper.loc[arm] if arm in paper.index else None
        each = runs.get(arm, [])
        finals = pd.Series([run.final_accuracy for run in each], dtype=float)
        ended = [run.ended for run in each if run.ended != "finished"]
        hours = np.mean([run.provenance["seconds"] for run in each]) / 3600 if each else nan
        rows.append(
            {
                "arm": arm,
                "paper: iterations": _length(theirs),
                "paper, %": "–" if theirs is None else percent(theirs.accuracy, theirs.sd),
                "our iterations": f"{configs[0].iterations:,}",
                "ours, %": percent(finals.mean(), finals.std()) if each else "not run",
                "n": len(each),
                "hours": "–" if isnan(hours) else f"{hours:.2g}",
                "diverged": f"{len(ended)} of {len(each)}" if ended else "",
            }
        )
    found = pd.DataFrame(rows).set_index("arm")
    return found if found["diverged"].any() else found.drop(columns="diverged")


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
    Claim("control", "one cycle", "better than", "step, squeezed"),
    Claim("control", "one cycle", "better than", "cosine"),
    Claim("control", "one cycle", "as good as", "1cycle"),
)

_MNIST = 0.0005  # MNIST's accuracies differ by hundredths of a point
MNIST = (
    Claim("Table 2", "1cycle, 50 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 25 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 12 epochs", "better than", "inv", margin=_MNIST),
    Claim("Table 2", "1cycle, 12 epochs", "better than", "step", margin=_MNIST),
    Claim("Table 2", "step", "as good as", "inv", margin=_MNIST),
    Claim("control", "1cycle, 6 epochs", "not worse than", "inv", margin=_MNIST),
    Claim("control", "1cycle, 3 epochs", "not worse than", "inv", margin=_MNIST),
    Claim("control", "1cycle, 1 epoch", "not worse than", "inv", margin=_MNIST),
)


def interval(ours: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval (Welch) of the difference of two means; (nan, nan) if either n is 1."""
    if min(len(ours), len(others)) < 2:
        return nan, nan
    shares = [np.var(each, ddof=1) / len(each) for each in (ours, others)]
    difference, error = (np.mean(ours) - np.mean(others), np.sqrt(sum(shares)))
    if error == 0:  # no spread at all
        return float(difference), float(difference)
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
    if allowed[0] <= low and high <= allowed[1]:
        return "reproduced"
    return "not reproduced" if high < allowed[0] or allowed[1] < low else "undecided"


def accuracies(runs: Sequence[Run], at: int) -> list[float]:
    """Each run's test accuracy at iteration `at`; KeyError if it was not tested there.

    A run that diverged before `at` counts with what it last had.
    """
    return [
        float(run.history.set_index("iteration")["test_accuracy"].loc[at])
        if run.ended == "finished"
        else run.final_accuracy
        for run in runs
    ]


def verdicts(
    claims: Sequence[Claim],
    arms: Mapping[str, Sequence[RunConfig]],
    runs: Mapping[str, Sequence[Run]],
    *,
    shorter: int = 1,
) -> pd.DataFrame:
    """One row a claim whose arms are in the experiment: who says it, our difference in points
    of accuracy, its interval, n of both, and the verdict, or 'not run'.

    `shorter`: how many times shorter the experiment is than the full protocol.
    """
    rows = []
    for claim in claims:
        if claim.arm not in arms or claim.other not in arms:
            continue
        ends = [
            (at // shorter if at else arms[arm][0].iterations)
            for arm, at in ((claim.arm, claim.at), (claim.other, claim.other_at))
        ]
        text = f"{claim.arm} at {ends[0]:,} is {claim.relation} {claim.other} at {ends[1]:,}"
        row = {"claim": text, "who says it": claim.source, "difference": "–", "n": "–"}
        ours, others = runs.get(claim.arm), runs.get(claim.other)
        if ours and others:
            ours, others = (accuracies(ours, ends[0]), accuracies(others, ends[1]))
            low, high = interval(ours, others)
            row["difference"] = f"{100 * (np.mean(ours) - np.mean(others)):+.1f}" + (
                " (no interval)" if isnan(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
            )
            row["n"] = f"{len(ours)}, {len(others)}"
        row["verdict"] = (
            verdict(claim.relation, low, high, claim.margin) if ours and others else "not run"
        )
        rows.append(row)
    columns = ["claim", "who says it", "difference", "n", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index("claim")
