"""The papers' numbers and our runs, side by side, as tables for the notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
from IPython.display import Markdown

from clr.papers import published, runs_page, verdicts
from clr.papers.experiment import Experiment
from clr.papers.verdicts import Summary
from clr.printing import duration, percent
from clr.runs import Run

OURS = "ours, %"  # a column
WHOLE = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"  # no line of a narrow page ends at it


def not_run(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> str:
    """How many arms have no run, and the command that trains them, in one or two lines."""
    missing = [arm for arm in experiment.arms if not runs.get(arm)]
    if not missing:
        return f"{experiment.name}: all arms have runs"
    said = f"{experiment.name}: {len(missing)} of {len(experiment.arms)} arms are not run"
    return f"{said}; this runs them on {experiment.dataset}:\n{experiment.command()}"


def _length(row) -> str:
    """How long a published run was: its iterations or epochs, as far as they are given."""
    if pd.isna(row.iterations) and pd.isna(row.epochs):
        return "–"
    return f"{row.epochs} epochs" if pd.isna(row.iterations) else f"{row.iterations:,}"


def _time(runs: Sequence[Run], named: bool) -> str:
    """The mean duration per run: '9 min', or '30 s (NVIDIA H200) or 6 min (CPU)' if `named`."""
    seconds = [run.provenance["seconds"] for run in runs]
    means = pd.Series(seconds, dtype=float).groupby(list(map(_device, runs))).mean()
    said = [duration(mean) + f" ({name})" * named for name, mean in means.sort_values().items()]
    return " or ".join(said) or "–"


def _device(run: Run) -> str:
    """The device that trained a run, without its architecture."""
    return run.provenance["device"].split(" (")[0]


class Results(pd.DataFrame):
    """A table of the arms of an experiment, whose accuracies lead to the runs."""

    @property
    def _constructor(self):
        return Results

    def to_html(self, **options) -> str:
        """As pandas does, with links where the experiment is known."""
        table, experiment = pd.DataFrame(self), self.attrs.get("experiment")
        if experiment and OURS in table:
            links = [
                f'<a href="{escape(runs_page.in_notebooks(experiment, arm))}">{text}</a>'
                for arm, text in table[OURS].items()
            ]
            table = table.assign(**{OURS: links})
        return table.to_html(**({"border": 0, "escape": False} | options))

    def _repr_html_(self) -> str:
        return self.to_html()


def results(experiment: Experiment, runs: Mapping[str, Sequence[Run]]) -> Results:
    """One row per arm: our runs of it, or 'not run', and what the paper publishes for it.

    The columns of published numbers are left out where the papers publish none for the
    experiment. Accuracies are in percent, ours as mean ± sd; the
    time is the mean per run, separately for each device if there are several. As HTML, our
    accuracies are links to the runs (`clr.papers.runs_page`).
    """
    paper = published.of(experiment)
    named = len({_device(run) for each in runs.values() for run in each}) > 1
    rows = {}
    for arm, planned in experiment.arms.items():
        summary, row = Summary.of(runs.get(arm, [])), {}
        if not paper.empty:
            theirs = paper.loc[arm] if arm in paper.index else None
            row["paper: length"] = "–" if theirs is None else _length(theirs)
            known = (None,) if theirs is None else (theirs.accuracy, theirs.sd)
            row["paper, %"] = percent(*known).replace(" ± ", WHOLE)
        rows[arm] = row | {
            "our iterations": f"{planned.iterations:,}",
            OURS: summary.text().replace(" ± ", WHOLE),
            "n": summary.n,
            "time": _time(runs.get(arm, []), named),
        }
    table = Results(rows.values(), pd.Index(rows, name="arm"))
    table.attrs["experiment"] = experiment.name
    return table


class Folded:
    """A table that a page shows when the reader opens it; `summary` says what it holds."""

    def __init__(self, table: pd.DataFrame, summary: str):
        self._table, self._summary = table, summary

    def _repr_html_(self) -> str:
        table = self._table.to_html(border=0)
        return f"<details><summary>{escape(self._summary)}</summary>{table}</details>"

    def __repr__(self) -> str:
        return f"{self._summary} ({len(self._table)} rows)"


def your_runs(runs: Mapping[str, Sequence[Run]], *compared: tuple[str, str]) -> Markdown:
    """What the reader's own runs showed, in sentences that are true for any data.

    `runs` by arm, and pairs of arms whose ends are `compared`. Arms without runs are left out.
    ValueError if there is no run at all.
    """
    there = {arm: list(each) for arm, each in runs.items() if each}
    if not there:
        raise ValueError("runs must hold at least one run; it has none")
    (first, *_), *_ = there.values()
    ends = []
    for arm, each in there.items():
        many = "1 run" if len(each) == 1 else f"{len(each)} runs"
        after = f"{each[0].config.iterations:,} iterations ({many})"
        ends.append(f"* {arm}: {Summary.of(each).text()} % after {after}")
    said = [
        _comparison(name, there[name], other, there[other])
        for name, other in compared
        if name in there and other in there
    ]
    head = f"**Your runs**, on {first.config.source.title}, ended with these test accuracies:"
    return Markdown("\n\n".join([head, "\n".join(ends), *said]))


def _comparison(name: str, ours: Sequence[Run], other: str, others: Sequence[Run]) -> str:
    """How the ends of two arms of the reader compare, and whether this can be chance."""
    a, b = Summary.of(ours), Summary.of(others)
    if not (a.accuracies and b.accuracies):
        gone = [arm for arm, each in ((name, a), (other, b)) if not each.accuracies]
        return f"All runs of {' and of '.join(gone)} diverged."
    points = 100 * (a.mean - b.mean)
    side = "above" if points >= 0 else "below"
    said = f"Here, {name} ended {abs(points):.1f} points {side} {other}."
    if abs(points) < 0.05:
        said = f"Here, {name} and {other} ended at the same accuracy, to 0.1 points."
    low, high = verdicts.interval(a.accuracies, b.accuracies)
    if np.isnan(low):
        return f"{said} Without repeated runs, it cannot be told from chance."
    inside = "contains 0, so this can be chance" if low <= 0 <= high else "does not contain 0"
    return f"{said} The 95 % interval, {100 * low:+.1f} to {100 * high:+.1f}, {inside}."
