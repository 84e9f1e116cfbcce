"""The author's logs: their rates (`data/author_lr.csv`) beside those of our policies, and the
best tests of his range tests (`data/author_results.csv`).
"""

from __future__ import annotations

import pandas as pd

from clr.papers.published import PUBLISHED
from clr.policies import Policy, RangeRamp, Step, Triangular

LOGS = PUBLISHED.with_name("author_lr.csv")
RESULTS = PUBLISHED.with_name("author_results.csv")
_DROPS = (50_000, 70_000)
POLICIES: dict[str, Policy] = {  # by the beginning of the log's name; the first match counts
    "clr3SS5k": Triangular(0.1, 3.0, 5000),
    "lr35Adam": Step(0.0035, _DROPS),
    "lr35": Step(0.35, _DROPS),
    "range2": Triangular(0.0, 2.0, 80_000),
    "range3Iter5k": Triangular(0.0, 3.0, 5000),
    "range3Iter100k": Triangular(0.0, 3.0, 100_000),
    "range3": Triangular(0.0, 3.0, 20_000),
    "lrRange3SS520k": Triangular(0.0, 3.0, 20_000),
}


def policy_of(log: str) -> Policy:
    """The policy of a log, with the settings at the log's beginning."""
    return next(policy for name, policy in POLICIES.items() if log.startswith(name))


def compared() -> pd.DataFrame:
    """The rate at every 1,000th iteration of each log: the log's (`lr`) and `ours`.

    Both have six digits, as Caffe prints them. `same` says whether they are equal.
    """
    rows = pd.read_csv(LOGS)
    exact = [policy_of(log)(t) for log, t in zip(rows["log"], rows["iteration"], strict=True)]
    rows["ours"] = [float(f"{rate:.6g}") for rate in exact]
    return rows.assign(same=rows["lr"] == rows["ours"])


def range_tests() -> pd.DataFrame:
    """The range tests of ResNet-56: the length of each ramp and the rate at its best test."""
    rows = pd.read_csv(RESULTS)
    rows = rows[rows["log"].str.match("range3Iter|range2SS80kRes56")]
    ends = rows["policy"].str.extract(r"tri 0-(\d)")[0].astype(int)
    rates = [
        float(RangeRamp(0.0, end, row.iterations)(row.best_iteration))
        for end, row in zip(ends, rows.itertuples(), strict=True)
    ]
    columns = {
        "iterations": [f"{n:,}" for n in rows["iterations"]],
        "best accuracy, %": [f"{100 * each:.1f}" for each in rows["best_accuracy"]],
        "at rate": [f"{rate:.2f}" for rate in rates],
    }
    ramps = [f"0 to {end}" for end in ends]
    return pd.DataFrame(columns, index=ramps).rename_axis(columns="ramp")
