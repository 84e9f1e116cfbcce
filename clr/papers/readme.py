"""README.md's generated part: the table of claims, and the figure above it."""

from __future__ import annotations

import hashlib
import io

import pandas as pd

from clr.papers import cyclical, scoreboard
from clr.papers.experiment import Experiment
from clr.paths import ROOT
from clr.runs import Run, Store, files

README, FIGURE = ROOT / "README.md", ROOT / "data" / "headline.png"
HEADLINES = "Table 1", "abstract", "Fig. 1a", "Table 2"  # what the papers are known for
BEGIN = "<!-- claims: written by `python -m clr claims --readme` -->"
END = "<!-- end of claims -->"


def claims_part() -> str:
    """The papers' main claims that have committed runs, with their verdicts, and all counts."""
    every = scoreboard.comparisons(Store.committed())
    shown = [
        {
            "claim": row["claim"],
            "protocol": row["experiment"],
            "paper, %": row["paper"],
            "ours, % (n)": f"{row['ours']} ({', '.join(map(str, row['n']))})",
            "difference": row["points"],
            "verdict": row["verdict"].replace("not", "**not**"),
        }
        for row in every
        if row["verdict"] != "not run" and row["source"].split(" ", 1)[1] in HEADLINES
    ]
    columns = ["claim", "protocol", "paper, %", "ours, % (n)", "difference", "verdict"]
    lines = [scoreboard.markdown(shown, columns)]
    for what, wanted in (("What the papers claim", False), ("Our controls", True)):
        some = [row["verdict"] for row in every if row["control"] == wanted]
        count = pd.Series(some).value_counts()
        counts = ", ".join(f"{n} {verdict}" for verdict, n in count.items())
        lines.append(f"{what}, {len(some)} comparisons: {counts}.")
    return "\n\n".join(lines)


def _figure_runs() -> list[tuple[Experiment, dict[str, list[Run]]]]:
    """What the figure shows: the paper's table, and the protocol with several seeds."""
    shown = (
        cyclical.TABLE1.only(["fixed", "triangular2", "decay", "exp_range"]),
        cyclical.LAPTOP.only(["fixed", "triangular", "cosine"]),
    )
    return [(each, each.best_recorded(Store.committed())) for each in shown]


def figure_id() -> str:
    """What the figure is drawn from, as a hash of the histories; it is inside the PNG."""
    whole = hashlib.sha256()
    for _, arms in _figure_runs():
        for run in (run for each in arms.values() for run in each):
            whole.update(run.path.with_suffix(".csv").read_bytes())
    return whole.hexdigest()


def draw():
    """The headline figure: accuracy along the runs of `table1` and of `laptop`."""
    from clr.papers import figures

    figure, axes = figures.plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    shown = [(experiment, arms) for experiment, arms in _figure_runs() if arms]
    for ax, (experiment, arms) in zip(axes, shown, strict=False):
        figures.histories(arms, ax=ax)
        if experiment.protocol != "ours":
            figures.published(experiment, arms, ax=ax)
        ax.set(ylim=(0.5, None), xlabel=f"iteration (protocol {experiment.name})")
    content = io.BytesIO()
    figure.savefig(content, metadata={"Records": figure_id()}, dpi=100)
    figures.plt.close(figure)
    files.write(FIGURE, content.getvalue())


def text() -> str:
    """README.md as it should be. ValueError if one of the marks around its part is missing."""
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
