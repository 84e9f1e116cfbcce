"""Every claim and published number beside our runs: `python -m clr claims`, notebook 7."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from math import isnan

import pandas as pd

from clr.papers import EXPERIMENTS, published
from clr.papers.experiment import Claim, Experiment
from clr.papers.verdicts import ANSWERS, Summary, verdicts
from clr.printing import percent
from clr.range_test import RangeTest
from clr.runs import Run, Store


def _made(each: Sequence[Run]) -> dict[str, str]:
    """The data sets and the devices of these runs, as text."""
    return {
        "data": "; ".join(sorted({run.config.source.title for run in each})) or "–",
        "device": "; ".join(sorted({run.provenance["device"] for run in each})) or "–",
    }


def _command(experiment: Experiment, arms: Sequence[str]) -> str:
    names = shlex.join(dict.fromkeys(arms))
    return f"python -m clr sweep --experiment {experiment.name} --arms {names}"


def _source(experiment: Experiment, claim: Claim) -> str:
    """Who says it, as text."""
    if not claim.control:
        return claim.source
    return "our question" if experiment.paper == "ours" else f"{experiment.paper} our control"


def _or_none(value: float) -> float | None:
    return None if isnan(value) else value


def comparisons(store: Store | None = None) -> list[dict]:
    """Every claim of every experiment, judged by the records of `store`, as plain values.

    Keys: claim, arm (its first one), statement (the paper's sentence that it tests, or None),
    experiment, protocol (CLR, SC or ours), paper_of (the paper it is about), breaks (the
    paper's conditions that the protocol breaks), source, control, paper and ours (the two arms'
    accuracies as text), n of both, runs (n as text), difference, low, high and theirs (the
    published difference; fractions or None), points, published, relation, margin, verdict,
    holm, diverged (runs of both), data, device, command. Without a `store`, the usual one.
    """
    store, found = store or Store.usual(), []
    for experiment in EXPERIMENTS.values():
        if not experiment.claims:
            continue
        runs = experiment.best_recorded(store)
        numbers = published.of(experiment)["accuracy"]
        for verdict in verdicts(experiment, runs):
            claim, pair = verdict.claim, (verdict.claim.arm, verdict.claim.other)
            both = [verdict.ours, verdict.others]
            theirs = [] if isnan(verdict.theirs) else [numbers[arm] for arm in pair]
            found.append(
                {
                    "claim": verdict.text,
                    "arm": claim.arm,
                    "statement": claim.statement.value if claim.statement else None,
                    "experiment": experiment.name,
                    "protocol": experiment.protocol,
                    "paper_of": experiment.paper,
                    "breaks": list(experiment.breaks),
                    "source": _source(experiment, claim),
                    "control": claim.control,
                    "paper": " / ".join(percent(a, None, verdict.digits) for a in theirs)
                    or "–",
                    "ours": " / ".join(each.text(verdict.digits) for each in both),
                    "n": [each.n for each in both],
                    "runs": verdict.runs,
                    "difference": _or_none(verdict.difference),
                    "low": _or_none(verdict.low),
                    "high": _or_none(verdict.high),
                    "theirs": _or_none(verdict.theirs),
                    "points": verdict.points,
                    "published": verdict.published,
                    "relation": claim.relation,
                    "margin": claim.margin,
                    "verdict": verdict.word,
                    "holm": verdict.holm,
                    "diverged": [each.diverged for each in both],
                    **_made([run for arm in pair for run in runs.get(arm, [])]),
                    "command": _command(experiment, pair),
                }
            )
    return found


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
    names = dict.fromkeys(row["statement"] for row in rows if row["statement"])
    found = []
    for name in names:
        some = [row for row in rows if row["statement"] == name]
        found.append(
            {
                "statement": name,
                "who says it": ", ".join(dict.fromkeys(row["source"] for row in some)),
                "at the paper's own protocol": _cell([r for r in some if own(r)], False),
                "at shortened protocols": _cell([r for r in some if not own(r)], True),
            }
        )
    columns = [
        "statement",
        "who says it",
        "at the paper's own protocol",
        "at shortened protocols",
    ]
    return pd.DataFrame(found, columns=columns).set_index("statement")


OURS = "questions of ours"  # the row of `counts` with answers instead of verdicts


def counts(rows: Sequence[Mapping]) -> pd.DataFrame:
    """The number of claims per verdict: own protocols, shortened protocols, our questions.

    For our questions, the column "reproduced" counts the answer yes, and "not reproduced" no.
    """
    kinds = {
        "claims, at the papers' own protocols": lambda row: own(row) and not row["control"],
        "claims, at shortened protocols": lambda row: not own(row) and not row["control"],
        OURS: lambda row: row["control"],
    }
    words = ["reproduced", "not reproduced", "undecided", "not run"]
    return pd.DataFrame(
        [
            [
                sum(row["verdict"] in (word, ANSWERS.get(word)) for row in rows if kind(row))
                for word in words
            ]
            for kind in kinds.values()
        ],
        index=list(kinds),
        columns=words,
    )


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
    paper and ours (as text), accuracy, mean and sd (fractions or None), n, diverged (number of
    runs), data, device, command (empty if there is no experiment).
    """
    store = store or Store.usual()
    rows = published.numbers()
    named = [EXPERIMENTS[name] for name in rows["experiment"].unique() if name]
    runs = {experiment.name: experiment.best_recorded(store) for experiment in named}
    found = []
    for row in rows.itertuples():
        experiment = EXPERIMENTS.get(row.experiment)
        each = runs[row.experiment].get(row.arm, []) if experiment else []
        summary, ranges = Summary.of(each), row.policy == "range_ramp"
        digits = 2 if row.dataset == "MNIST" else 1
        if ranges:
            paper, ours = f"{row.base_lr:g} to {row.max_lr:g}", _bounds(each) if each else ""
        else:
            paper, ours = percent(row.accuracy, row.sd, digits), summary.text(digits)
        found.append(
            {
                "place": row.place,
                "dataset": row.dataset,
                "model": row.model,
                "policy": row.policy,
                "setting": row.setting,
                "paper": paper,
                "ours": ours if each else _why_not(row),
                "accuracy": None if ranges else row.accuracy,
                "mean": None if ranges else _or_none(summary.mean),
                "sd": None if ranges else _or_none(summary.sd),
                "n": summary.n,
                "diverged": summary.diverged,
                **_made(each),
                "command": _command(experiment, [row.arm]) if experiment else "",
            }
        )
    return found


CLAIMS = ["claim", "verdict", "points", "published", "paper", "ours", "runs", "holm", "source"]
MADE = ["data", "device"]
NUMBERS = ["place", "dataset", "model", "policy", "setting", "paper", "ours", "n", "data"]


def table(rows: Sequence[dict], columns: Sequence[str]) -> pd.DataFrame:
    """`comparisons()` or `numbers()` as a table of text, with some of their columns."""
    return pd.DataFrame(
        [
            {
                c: ", ".join(map(str, row[c])) if isinstance(row[c], list) else row[c]
                for c in columns
            }
            for row in rows
        ],
        columns=list(columns),
    )


def markdown(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """The same as a table in Markdown."""
    lines = [list(columns), ["---"] * len(columns)]
    for line in table(rows, columns).astype(str).to_numpy().tolist():
        lines.append([escape(cell, quote=False).replace("|", "\\|") for cell in line])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json() -> str:
    """All claims and all published numbers, with all their keys, as one JSON object."""
    return json.dumps({"claims": comparisons(), "published": numbers()}, indent=1)


def as_markdown() -> str:
    """The claims and the published numbers as Markdown tables, with the commands."""
    return (
        markdown(comparisons(), [*CLAIMS, *MADE, "command"])
        + "\n\n"
        + markdown(numbers(), [*NUMBERS, "command"])
    )


def as_text() -> str:
    """The claims, by experiment, and the published numbers, as text for a terminal."""
    parts, every = [], comparisons()
    for name in dict.fromkeys(row["experiment"] for row in every):
        rows = [row for row in every if row["experiment"] == name]
        made = {key: sorted({r[key] for r in rows} - {"–"}) for key in ("data", "device")}
        parts.append(
            f"{name}: {'; '.join(made['data'] + made['device']) or 'not run'}\n"
            + table(rows, CLAIMS).to_string(index=False)
            + f"\nto train on the original data: python -m clr sweep --experiment {name}"
        )
    every = numbers()
    shown = [row for row in every if row["command"]]
    rest = len(every) - len(shown)
    parts.append("published numbers\n" + table(shown, NUMBERS).to_string(index=False))
    parts.append(
        f"{rest} more published numbers have no experiment here; --markdown lists them"
    )
    return "\n\n".join(parts)
