"""Every claim and published number beside our runs: `python -m clr claims`, notebook 7."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from clr.papers import EXPERIMENTS, published
from clr.papers.verdicts import HEADS, Summary, judge, made, or_none
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


def _cell(rows: Sequence[Mapping], shortened: bool) -> str:
    """The verdicts of several claims on one statement, as text, without claims not run.

    If `shortened`, each has the name of its experiment instead of the interval. Claims of one
    experiment have the name of their first arm or, where that is the same in two of them, their
    whole text.
    """
    run = [row for row in rows if row["verdict"] != "not run"]
    if not run:
        return "not run" if rows else "–"
    arms: dict[str, list[str]] = {}
    for row in rows:
        arms.setdefault(row["experiment"], []).append(row["arm"])
    said = []
    for row in run:
        points = row["points"].split(" [")[0] if shortened else row["points"]
        names = [row["experiment"]] if shortened else []
        if len(same := arms[row["experiment"]]) > 1:
            names.append(row["arm"] if len(set(same)) == len(same) else row["claim"])
        said.append(f"{row['verdict']}, {points}" + (f" ({': '.join(names)})" if names else ""))
    return "; ".join(said)


def statements(rows: Sequence[Mapping]) -> pd.DataFrame:
    """One row per statement of a paper, from rows of `comparisons`: its source, its verdicts.

    The verdicts are those of the papers' own protocols, then those of shortened ones, each with
    the difference in points. A claim that was not run is left out if another one was run.
    Several claims of one experiment are told apart by their first arms, or by their whole text.
    """
    found: dict[str, dict[str, str]] = {
        "who says it": {},
        "at the paper's own protocol": {},
        "at shortened protocols": {},
    }
    sources, whole, shortened = found.values()
    for name in dict.fromkeys(row["statement"] for row in rows if row["statement"]):
        some = [row for row in rows if row["statement"] == name]
        sources[name] = ", ".join(dict.fromkeys(row["source"] for row in some))
        whole[name] = _cell([row for row in some if own(row)], False)
        shortened[name] = _cell([row for row in some if not own(row)], True)
    return pd.DataFrame(found, dtype=str).rename_axis("statement")


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
    found = {
        kind: {
            "hold": sum(row["holds"] is True for row in each),
            "do not hold": sum(row["holds"] is False for row in each),
            "undecided": sum(row["verdict"] == "undecided" for row in each),
            "not run": sum(row["verdict"] == "not run" for row in each),
        }
        for kind, each in kinds(rows).items()
    }
    return pd.DataFrame.from_dict(found, orient="index")


def _bounds(each: Sequence[Run]) -> str:
    """The bounds that range tests give, as text."""
    bounds = RangeTest.from_runs(each).bounds()
    values = bounds.base_lr, bounds.max_lr
    return " to ".join("–" if value is None else f"{value:.2g}" for value in values)


def _why_not(row) -> str:
    if row.dataset == "ImageNet":
        return "not run: ImageNet"
    return "not run" if row.arm else f"not run: no experiment yet ({row.model})"


def numbers(store: Store | None = None) -> list[dict]:
    """Every row of data/published.csv and what our runs of it say, in plain values.

    Means are over the runs that did not diverge. Keys: place, dataset, model, policy, setting,
    theirs and ours (as text), accuracy, mean and sd (fractions or None), n, diverged (number of
    runs), data, device, command (empty if there is no experiment).
    """
    store = store or Store.usual()
    rows = published.numbers()
    named = [EXPERIMENTS[name] for name in rows["experiment"].unique() if name]
    runs = {experiment.name: experiment.most_recorded(store) for experiment in named}
    found = []
    for row in rows.itertuples():
        experiment = EXPERIMENTS.get(row.experiment)
        each = runs[row.experiment].get(row.arm, []) if experiment else []
        summary, ranges = Summary.of(each), row.policy == "range_ramp"
        digits = 2 if row.dataset == "MNIST" else 1
        if ranges:
            theirs, ours = f"{row.base_lr:g} to {row.max_lr:g}", _bounds(each) if each else ""
        else:
            theirs, ours = percent(row.accuracy, row.sd, digits), summary.text(digits)
        found.append(
            {
                "place": row.place,
                "dataset": row.dataset,
                "model": row.model,
                "policy": row.policy,
                "setting": row.setting,
                "theirs": theirs,
                "ours": ours if each else _why_not(row),
                "accuracy": None if ranges else row.accuracy,
                "mean": None if ranges else or_none(summary.mean),
                "sd": None if ranges else or_none(summary.sd),
                "n": summary.n,
                "diverged": summary.diverged,
                **made(each),
                "command": experiment.command([row.arm]) if experiment else "",
            }
        )
    return found


CLAIMS = [
    "claim",
    "verdict",
    "points",
    "published",
    "theirs",
    "ours",
    "n_text",
    "holm",
    "written",
    "source",
]
MADE = ["data", "device"]
NUMBERS = ["place", "dataset", "model", "policy", "setting", "theirs", "ours", "n", "data"]


def table(rows: Sequence[dict], columns: Sequence[str]) -> pd.DataFrame:
    """`comparisons()` or `numbers()` as a table of text, with some of their columns."""
    return pd.DataFrame(rows, columns=list(columns)).rename(columns=HEADS)


def markdown(found: pd.DataFrame) -> str:
    """A table in Markdown."""
    lines = [list(found.columns), ["---"] * len(found.columns)]
    for line in found.astype(str).to_numpy().tolist():
        lines.append([escape(cell, quote=False).replace("|", "\\|") for cell in line])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json() -> str:
    """All claims and all published numbers, with all their keys, as one JSON object."""
    return json.dumps({"claims": comparisons(), "published": numbers()}, indent=1)


def as_markdown() -> str:
    """The claims and the published numbers as Markdown tables, with the commands."""
    return (
        markdown(table(comparisons(), [*CLAIMS, *MADE, "command"]))
        + "\n\n"
        + markdown(table(numbers(), [*NUMBERS, "command"]))
    )


def as_text() -> str:
    """The claims, by experiment, and the published numbers, as text for a terminal."""
    parts, every = [], comparisons()
    for name in dict.fromkeys(row["experiment"] for row in every):
        rows = [row for row in every if row["experiment"] == name]
        made = {key: sorted({r[key] for r in rows} - {"–"}) for key in MADE}
        parts.append(
            f"{name}: {'; '.join(made['data'] + made['device']) or 'not run'}\n"
            + table(rows, CLAIMS).to_string(index=False)
            + f"\nto train on the original data: {EXPERIMENTS[name].command()}"
        )
    every = numbers()
    shown = [row for row in every if row["command"]]
    rest = len(every) - len(shown)
    parts.append("published numbers\n" + table(shown, NUMBERS).to_string(index=False))
    parts.append(
        f"{rest} more published numbers have no experiment here; --markdown lists them"
    )
    return "\n\n".join(parts)
