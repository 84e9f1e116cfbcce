"""Every claim and its verdict: a table that the reader filters and sorts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from clr.papers.forest import mark
from clr.papers.widgets.fragment import part

ANSWERS = {True: "holds", False: "does not hold", None: "undecided"}
NOT_RUN = "not run"
KINDS = "papers' own protocols", "shortened protocols", "our questions"
COLUMNS = {
    "mark": "verdict",
    "claim": "claim",
    "points": "difference",
    "published": "published",
    "n": "n",
}
DETAILS = {
    "ours": "ours (%, or nats)",
    "theirs": "paper, %",
    "holm": "after Holm's correction",
    "written": "claim written",
    "source": "who says it",
    "experiment": "experiment",
    "breaks": "breaks",
    "data": "data",
    "device": "device",
    "command": "trains it",
}


def _kind(row: Mapping) -> str:
    own, shortened, questions = KINDS
    if row["control"]:
        return questions
    return shortened if row["breaks"] else own


def _values(row: Mapping) -> dict[str, str]:
    """What the page shows of a judged claim, as text."""
    open_ = row["verdict"] == NOT_RUN
    return {
        **{key: row[key] for key in DETAILS if key != "breaks"},
        "claim": row["claim"],
        "breaks": "; ".join(row["breaks"]),
        "mark": NOT_RUN if open_ else mark(row),
        "statement": row["statement"] or "",
        "points": row["points"],
        "published": row["published"],
        "n": row["n_text"],
        "answer": NOT_RUN if open_ else ANSWERS[row["holds"]],
        "kind": _kind(row),
    }


def claims_table(rows: Sequence[Mapping]) -> str:
    """A widget with a row per judged claim (`clr.papers.scoreboard.comparisons`).

    A row opens to show the arms, their accuracies, the experiment and the command that trains
    it. At first, the claims of the papers at their own protocols are shown. Without scripts,
    there is a folded table. ValueError without rows.
    """
    if not rows:
        raise ValueError("rows must hold at least one claim; it is empty")
    values = [_values(row) for row in rows]
    keys = list(values[0])
    texts = {text: None for row in values for text in row.values()}  # each is written once
    number = {text: i for i, text in enumerate(texts)}
    answers = [*ANSWERS.values(), NOT_RUN]
    looks = ("hold", "yes"), ("do not hold", "no"), ("undecided", "open"), (NOT_RUN, "open")
    data = {
        "keys": keys,
        "texts": list(texts),
        "rows": [[number[row[key]] for key in keys] for row in values],
        "columns": list(COLUMNS.items()),
        "details": list(DETAILS.items()),
        "answers": [
            {"value": value, "name": value, "many": many, "colour": f"var(--clr-{colour})"}
            for value, (many, colour) in zip(answers, looks, strict=True)
        ],
        "start": {"answer": answers, "kind": KINDS[0]},
        "hint": "Choose which claims to see; a click on a heading sorts, on a claim opens it.",
        "note": (
            "Differences are in points of accuracy, or in nats where losses are compared, with "
            "95 % intervals (90 % where it is said). An asterisk marks a verdict that does not "
            "hold after Holm's correction. A published difference lies inside or outside of "
            "our prediction interval."
        ),
    }
    title, still = "Every claim and its verdict", _folded(values)
    return part("claims", title, data, still)


def _folded(values: Sequence[Mapping[str, str]]) -> str:
    """The claims that are run as a folded table, for places where no script runs."""
    shown = {"claim": "claim", **COLUMNS, "source": "who says it"}
    run = [row for row in values if row["answer"] != NOT_RUN]
    table = pd.DataFrame(run, columns=list(shown)).rename(columns=shown)
    with pd.option_context("display.max_colwidth", None):
        html = re.sub(r">\s+<", "><", table.to_html(border=0, index=False))
    return (
        f'<details class="clr-still"><summary>{len(run)} claims as a table. Where scripts run, '
        f"it can be filtered and sorted.</summary>{html}</details>"
    )
