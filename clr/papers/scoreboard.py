"""Every claim and published number beside our runs: `python -m clr claims`, notebook 7."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from operator import itemgetter

import pandas as pd

from clr.papers import EXPERIMENTS, published
from clr.papers.verdicts import HEADS, Summary, data_and_devices, judge, or_none
from clr.printing import percent
from clr.range_test import RangeTest
from clr.runs import Run, Store


def comparisons(store: Store | None = None) -> list[dict]:
    """Every claim of every experiment, judged by the records of `store`: the rows of `judge`.

    Without a `store`, the usual one.
    """
    store = store or Store.usual()
    judged = [each for each in EXPERIMENTS.values() if each.claims]
    return [row for each in judged for row in judge(each, each.most_recorded(store))]


def own(row: Mapping) -> bool:
    """Whether a row of `comparisons` is at a paper's own protocol."""
    return row["protocol"] in ("CLR", "SC")


def _cell(rows: Sequence[Mapping]) -> str:
    """The verdicts of several claims on one statement, as text, without claims not run.

    Claims of one experiment have the name of their first arm or, where that is the same in two
    of them, their whole text. An asterisk marks a verdict that does not survive Holm's
    correction.
    """
    said = []
    for row in (row for row in rows if row["verdict"] != "not run"):
        same = [each["arm"] for each in rows if each["experiment"] == row["experiment"]]
        name = row["arm"] if len(set(same)) == len(same) else row["claim"]
        doubt = "*" if row["holm"] == "no" else ""
        several = f" ({name})" if len(same) > 1 else ""
        said.append(f"{row['verdict']}{doubt}, {row['points']}{several}")
    return "; ".join(said) or ("not run" if rows else "–")


def statements(rows: Sequence[Mapping]) -> pd.DataFrame:
    """One row per statement of a paper, from rows of `comparisons`: its verdicts.

    They are those of the papers' own protocols, each with the difference in points. A claim
    that was not run is left out if another one was run. Several claims of one experiment are
    told apart by their first arms, or by their whole text.
    """
    found = {
        name: _cell([row for row in rows if row["statement"] == name and own(row)])
        for name in dict.fromkeys(row["statement"] for row in rows if row["statement"])
    }
    return pd.DataFrame({"at the paper's own protocol": found}).rename_axis("statement")


def kinds(rows: Sequence[Mapping]) -> dict[str, list[Mapping]]:
    """The claims at the papers' own protocols, those at shortened ones, and our questions."""
    claims = [row for row in rows if not row["control"]]
    return {
        "claims, at the papers' own protocols": [row for row in claims if own(row)],
        "claims, at shortened protocols": [row for row in claims if not own(row)],
        "questions of ours": [row for row in rows if row["control"]],
    }


def counts(rows: Sequence[Mapping]) -> pd.DataFrame:
    """How many claims hold, do not hold, are undecided and are not run, by `kinds`."""
    found = {}
    for kind, each in kinds(rows).items():
        names = [
            {True: "hold", False: "do not hold"}.get(row["holds"], row["verdict"])
            for row in each
        ]
        columns = "hold", "do not hold", "undecided", "not run"
        found[kind] = {column: names.count(column) for column in columns}
    return pd.DataFrame.from_dict(found, "index")


def _result(row, each: Sequence[Run], summary: Summary, digits: int) -> str:
    """What our runs of a published number give, as text, or why there are none."""
    if not each:
        if row.dataset == "ImageNet":
            return "not run: ImageNet"
        return "not run" if row.arm else f"not run: no experiment yet ({row.model})"
    if row.policy != "range_ramp":
        return summary.text(digits)
    bounds = RangeTest.from_runs(each).bounds()
    values = bounds.base_lr, bounds.max_lr
    return " to ".join("–" if value is None else f"{value:.2g}" for value in values)


def numbers(store: Store | None = None) -> list[dict]:
    """Every row of data/published.csv and what our runs of it say, in plain values.

    Means are over the runs that did not diverge. Keys: place, dataset, model, policy, setting,
    theirs and ours (as text), accuracy, mean and sd (fractions or None), n, diverged (number of
    runs), data, device, command (empty if there is no experiment).
    """
    store = store or Store.usual()
    found, runs = [], {"": {}}
    for row in published.numbers().itertuples():
        experiment = EXPERIMENTS.get(row.experiment)
        if experiment and row.experiment not in runs:
            runs[row.experiment] = experiment.most_recorded(store)
        each = runs[row.experiment].get(row.arm, [])
        summary, ranges = Summary.of(each), row.policy == "range_ramp"
        digits = 2 if row.dataset == "MNIST" else 1
        theirs = percent(row.accuracy, row.sd, digits)
        if ranges:
            theirs = f"{row.base_lr:g} to {row.max_lr:g}"
        kept = ("place", "dataset", "model", "policy", "setting")
        found.append(
            {key: getattr(row, key) for key in kept}
            | {
                "theirs": theirs,
                "ours": _result(row, each, summary, digits),
                "accuracy": None if ranges else row.accuracy,
                "mean": None if ranges else or_none(summary.mean),
                "sd": None if ranges else or_none(summary.sd),
                "n": summary.n,
                "diverged": summary.diverged,
                **data_and_devices(each),
                "command": experiment.command([row.arm]) if experiment else "",
            }
        )
    return found


CLAIMS = ["claim", "verdict", "points", "published", "theirs", "ours", "n_text", "holm"]
CLAIMS += ["written", "source"]
MADE = ["data", "device"]
NUMBERS = ["place", "dataset", "model", "policy", "setting", "theirs", "ours", "n", "data"]


def table(rows: Sequence[dict], columns: Sequence[str]) -> pd.DataFrame:
    """`comparisons()` or `numbers()` as a table of text, with some of their columns."""
    return pd.DataFrame(rows, columns=list(columns)).rename(columns=HEADS)


def markdown(found: pd.DataFrame) -> str:
    """A table in Markdown."""
    lines = [found.columns, ["---"] * len(found.columns)]
    lines += [
        [re.sub(r"([|*])", r"\\\1", escape(str(e), quote=False)) for e in row]
        for row in found.values
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json() -> str:
    """All claims and all published numbers, with all their keys, as one JSON object."""
    return json.dumps({"claims": comparisons(), "published": numbers()}, indent=1)


def as_markdown() -> str:
    """The claims and the published numbers as Markdown tables, with the commands."""
    claims = markdown(table(comparisons(), [*CLAIMS, *MADE, "command"]))
    return f"{claims}\n\n{markdown(table(numbers(), [*NUMBERS, 'command']))}"


def as_text() -> str:
    """The claims, by experiment, and the published numbers, as text for a terminal."""
    parts = []
    for name, group in groupby(comparisons(), itemgetter("experiment")):
        rows = list(group)
        made = [text for key in MADE for text in sorted({row[key] for row in rows} - {"–"})]
        parts.append(
            f"{name}: {'; '.join(made) or 'not run'}\n"
            + table(rows, CLAIMS).to_string(index=False)
            + f"\nits command: {EXPERIMENTS[name].command()}"
        )
    every = numbers()
    shown = [row for row in every if row["command"]]
    rest = len(every) - len(shown)
    parts += [
        "published numbers\n" + table(shown, NUMBERS).to_string(index=False),
        f"{rest} more published numbers have no experiment here; --markdown lists them",
    ]
    return "\n\n".join(parts)
