"""The papers' numbers and our runs, side by side, as tables for the notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clr import checks
from clr.paths import ROOT
from clr.runs import Run
from clr.training import RunConfig, datasets

PUBLISHED = ROOT / "data" / "published.csv"


def _arm(row) -> str:
    """The arm of our experiments that a published number is about."""
    if row.place == "SC Table 2" and row.policy == "1cycle":
        return f"1cycle, {row.epochs} epochs"
    if row.place == "SC Table 1":
        images = int(row.setting.split("; ")[1].split()[0])
        return f"{row.policy}, {images:,} images"
    if row.place == "SC Fig. 4b":
        return f"{row.policy}, {row.model}"
    return "range ramp" if row.policy == "range_ramp" else row.policy


def published(place: str | None = None, dataset: str = "CIFAR-10") -> pd.DataFrame:
    """The published numbers of one table or figure, from `data/published.csv`; or all of them.

    `arm` is what our experiments call the policy. Accuracies and standard deviations are
    fractions; a range test's row has bounds instead. Raises ValueError, naming the places (or
    the data sets) there are.
    """
    types = {"paper": str, "iterations": "Int64", "epochs": "Int64"}
    rows = pd.read_csv(PUBLISHED, dtype=types)
    rows.insert(0, "arm", [_arm(row) for row in rows.itertuples()])
    for column, value in (("place", place), ("dataset", dataset)) if place else ():
        checks.one_of(column, value, rows[column].unique())
        rows = rows[rows[column] == value]
    return rows.reset_index(drop=True)


def percent(mean: float, sd: float | None = None, digits: int = 1) -> str:
    """A fraction as printed: '81.4' or '81.4 ± 0.3'; '–' for a missing value."""
    if pd.isna(mean):
        return "–"
    text = f"{100 * mean:.{digits}f}"
    return text if sd is None or pd.isna(sd) else f"{text} ± {100 * sd:.{digits}f}"


def duration(seconds: float) -> str:
    """'45 s', '12 min' or '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def data_name(run: Run) -> str:
    """What the run's data is called in print."""
    return datasets.title(run.data["name"])


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


def results(
    place: str | None,
    arms: Mapping[str, Sequence[RunConfig]],
    runs: Mapping[str, Sequence[Run]],
    *,
    dataset: str = "CIFAR-10",
    digits: int = 1,
) -> pd.DataFrame:
    """One row an arm: what `place` publishes for it, and our runs of it, or 'not run'.

    Without a `place` (for a protocol of our own) the paper's columns are left out. Accuracies
    are in percent with `digits` decimals, ours mean ± sd; time is one run's. `dataset` is the
    one that `place` is about. ValueError if that has several numbers for an arm.
    """
    paper = None if place is None else published(place, dataset).set_index("arm")
    if paper is not None and paper.index.has_duplicates:
        twice = paper.index[paper.index.duplicated()][0]
        raise ValueError(
            f"place must have one number an arm; got {place!r} with several of {twice}"
        )
    rows = []
    for arm, configs in arms.items():
        theirs = paper.loc[arm] if paper is not None and arm in paper.index else None
        each = runs.get(arm, [])
        finals = pd.Series([run.final_accuracy for run in each], dtype=float)
        ended = [run.ended for run in each if run.ended != "finished"]
        seconds = [run.provenance["seconds"] for run in each]
        rows.append(
            {
                "arm": arm,
                "paper: length": _length(theirs),
                "paper, %": "–"
                if theirs is None
                else percent(theirs.accuracy, theirs.sd, digits),
                "our iterations": f"{configs[0].iterations:,}",
                "ours, %": percent(finals.mean(), finals.std(), digits) if each else "not run",
                "n": len(each),
                "time": duration(float(np.mean(seconds))) if each else "–",
                "diverged": f"{len(ended)} of {len(each)}" if ended else "",
            }
        )
    found = pd.DataFrame(rows).set_index("arm")
    unused = [] if found["diverged"].any() else ["diverged"]
    return found.drop(columns=unused + ["paper: length", "paper, %"] * (place is None))
