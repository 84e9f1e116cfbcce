"""README.md's generated part: the table of claims, and the figure above it."""

from __future__ import annotations

import hashlib
import io

from clr.papers import cyclical, scoreboard
from clr.papers.statements import Statement
from clr.papers.verdicts import ANSWERS
from clr.paths import ROOT
from clr.runs import Store, files

README, FIGURE = ROOT / "README.md", ROOT / "data" / "headline.png"
HEADLINES = (  # what the papers are known for
    Statement.THIRD,
    Statement.AS_LONG,
    Statement.DECAY,
    Statement.EXP_RANGE,
    Statement.SUPER,
)
BEGIN = "<!-- claims: written by `python -m clr claims --readme` -->"
END = "<!-- end of claims -->"


def claims_part() -> str:
    """The verdicts on what the papers are known for, and the number of claims per verdict."""
    every = scoreboard.comparisons(Store.committed())
    wanted = {statement.value for statement in HEADLINES}
    shown = scoreboard.statements([row for row in every if row["statement"] in wanted])
    shown = shown.reindex([statement.value for statement in HEADLINES])
    rows = shown.drop(columns="who says it").rename_axis("what the papers say").reset_index()
    said = scoreboard.markdown(rows.to_dict("records"), list(rows.columns))
    return f"{said.replace('not reproduced', '**not** reproduced')}\n\n{_counts(every)}"


def _counts(rows: list[dict]) -> str:
    """The numbers of verdicts in sentences."""
    sentences = []
    for kind, numbers in scoreboard.counts(rows).iterrows():
        words = ANSWERS if kind == scoreboard.OURS else {}
        said = ", ".join(f"{n} {words.get(word, word)}" for word, n in numbers.items())
        sentences.append(f"{kind[0].upper()}{kind[1:]}: {said}.")
    return " ".join(sentences)


SHOWN = cyclical.TABLE1.only(["fixed", "triangular2", "decay", "exp_range"])


def figure_id() -> str:
    """A hash of the histories that the figure shows; it is stored in the PNG."""
    whole = hashlib.sha256()
    for run in (r for each in SHOWN.best_recorded(Store.committed()).values() for r in each):
        whole.update(run.path.with_suffix(".csv").read_bytes())
    return whole.hexdigest()


def draw():
    """The headline figure: accuracy along the runs of CLR Table 1, and its numbers as stars."""
    from clr.papers import figures

    runs = SHOWN.best_recorded(Store.committed())
    figure, ax = figures.plt.subplots(figsize=(8, 3.4), layout="constrained")
    figures.histories(runs, ax=ax, labels="direct")
    figures.published(SHOWN, runs, ax=ax)
    ax.set(xlim=(0, 86_000), ylim=(0.6, 0.85))
    content = io.BytesIO()
    figure.savefig(content, metadata={"Records": figure_id()}, dpi=100)
    figures.plt.close(figure)
    files.write(FIGURE, content.getvalue())


def text() -> str:
    """README.md as it should be. ValueError if a mark around the generated part is missing."""
    whole = README.read_text(encoding="utf-8")
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise ValueError(f"README.md must hold {BEGIN} and {END} once each")
    before, rest = whole.split(BEGIN)
    return before + "\n\n".join([BEGIN, claims_part(), END]) + rest.split(END)[1]


def write():
    """Bring README.md and its figure up to date with the records."""
    whole = text()
    draw()
    files.write(README, whole.encode())
