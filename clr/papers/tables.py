"""The papers' numbers and our runs, side by side, as tables for the notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clr.papers import EXPERIMENTS, published
from clr.papers.experiment import Experiment
from clr.papers.verdicts import Summary
from clr.printing import duration, percent
from clr.runs import Run


def made_on(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """A line for each data set and machine: 'CIFAR-10 (50,000 + 10,000 images), CPU, …'."""
    return sorted(
        {
            f"{run.config.source.title} ({run.data['train']:,} + {run.data['test']:,} images), "
            f"{run.provenance['device']}, threads: {run.provenance['threads']}, "
            f"torch {run.provenance['torch']}"
            for each in runs.values()
            for run in each
        }
    )


def not_run(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> str:
    """How many arms have no run, and the command that trains them, in one or two lines."""
    missing = [arm for arm in experiment.arms if not runs.get(arm)]
    if not missing:
        return f"{experiment.name}: all arms have runs"
    said = f"{experiment.name}: {len(missing)} of {len(experiment.arms)} arms are not run"
    if experiment.name not in EXPERIMENTS:  # made in a notebook
        return f"{said}; train=True runs them"
    return f"{said}; this runs them on {experiment.dataset}:\n{experiment.command()}"


def _length(row) -> str:
    """How long a published run was: its iterations or epochs, as far as they are given."""
    if pd.isna(row.iterations) and pd.isna(row.epochs):
        return "–"
    return f"{row.epochs} epochs" if pd.isna(row.iterations) else f"{row.iterations:,}"


def _time(runs: Sequence[Run], named: bool) -> str:
    """The mean duration per run: '9 min', or '30 s (NVIDIA H200) or 6 min (CPU)' if `named`."""
    by_device: dict[str, list[float]] = {}
    for run in runs:
        by_device.setdefault(_device(run), []).append(run.provenance["seconds"])
    means = sorted((float(np.mean(seconds)), name) for name, seconds in by_device.items())
    said = [f"{duration(mean)} ({name})" if named else duration(mean) for mean, name in means]
    return " or ".join(said) or "–"


def _device(run: Run) -> str:
    """The device that trained a run, without its architecture."""
    return run.provenance["device"].split(" (")[0]


def results(
    experiment: Experiment,
    runs: Mapping[str, Sequence[Run]],
    *,
    digits: int = 1,
) -> pd.DataFrame:
    """One row per arm: our runs of it, or 'not run', and what the paper publishes for it.

    The columns of published numbers are left out where the papers publish none for the
    experiment. Accuracies are in percent with `digits` decimals, ours as mean ± sd; the
    time is the mean per run, separately for each device if there are several.
    """
    paper = published.of(experiment)
    named = len({_device(run) for each in runs.values() for run in each}) > 1
    rows = []
    for arm, each in ((arm, runs.get(arm, [])) for arm in experiment.arms):
        theirs = paper.loc[arm] if arm in paper.index else None
        summary = Summary.of(each)
        rows.append(
            {
                "arm": arm,
                "paper: length": "–" if theirs is None else _length(theirs),
                "paper, %": "–"
                if theirs is None
                else percent(theirs.accuracy, theirs.sd, digits),
                "our iterations": f"{experiment.arms[arm].iterations:,}",
                "ours, %": summary.text(digits),
                "n": summary.n,
                "time": _time(each, named),
            }
        )
    unused = ["paper: length", "paper, %"] if paper.empty else []
    return pd.DataFrame(rows).set_index("arm").drop(columns=unused)
