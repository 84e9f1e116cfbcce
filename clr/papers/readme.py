"""The generated parts of README.md, its figures, and the indexes of the recorded runs."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from clr import files
from clr.papers import EXPERIMENTS, cyclical, scoreboard, worth_it
from clr.papers import statements as says
from clr.papers.experiment import Experiment
from clr.paths import ROOT
from clr.runs import Run, Store, record
from clr.training.data import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

README = ROOT / "README.md"
# what the papers are known for
HEADLINES = [says.THIRD, says.AS_LONG, says.DECAY, says.EXP_RANGE, says.SUPER]
BEGIN = "<!-- claims: written by `python -m clr claims --readme` -->"
END = "<!-- end of claims -->"
INDEX = (
    "`python -m clr claims --readme` has written this page. "
    "What a record holds is described in the README.md of the folder `data`."
)


def claims_part() -> str:
    """The verdicts on what the papers are known for, and the number of claims that hold."""
    every = scoreboard.comparisons(Store.committed())
    shown = scoreboard.statements(every).reindex(HEADLINES)
    rows = shown.drop(columns="who says it").rename_axis("what the papers say").reset_index()
    said = re.sub(r"(worse|gain below the margin), ", r"**\1**, ", scoreboard.markdown(rows))
    return f"{said}\n\n{_counts(every)}"


def _counts(rows: list[dict]) -> str:
    """How many claims hold, in sentences, and how many still do after Holm's correction."""
    numbers, sentences = scoreboard.counts(rows), []
    for kind, each in scoreboard.kinds(rows).items():
        kept = [row["holds"] for row in each if row["holm"] == "yes"]
        said = {name: f"{n} {name}" for name, n in numbers.loc[kind].items()}
        if not each[0]["control"]:  # most of our questions are not corrected
            said["hold"] += f" ({kept.count(True)} after Holm's correction)"
            said["do not hold"] += f" ({kept.count(False)})"
        sentences.append(f"{kind[0].upper()}{kind[1:]}: {', '.join(said.values())}.")
    return " ".join(sentences)


@dataclass(frozen=True)
class Figure:
    """A PNG file in `data`, and how it is drawn from the committed runs of an experiment.

    `draw` gets a matplotlib Axes and the runs by arm.
    """

    file: Path
    experiment: Experiment
    draw: Callable[[Axes, dict[str, list[Run]]], None]

    def runs(self) -> dict[str, list[Run]]:
        """The runs that the figure shows, by arm."""
        return self.experiment.most_recorded(Store.committed())

    def id(self) -> str:
        """A hash of the histories that the figure shows; it is stored in the PNG."""
        whole = hashlib.sha256()
        for run in (run for each in self.runs().values() for run in each):
            whole.update(record.as_csv(run.history).encode())
        return whole.hexdigest()

    def write(self):
        """Draw the figure into its file."""
        from clr.papers import figures  # this sets the look of all figures

        figure, ax = figures.plt.subplots(figsize=(8, 3.4), layout="constrained")
        self.draw(ax, self.runs())
        content = io.BytesIO()
        figure.savefig(content, metadata={"Records": self.id()}, dpi=100)
        figures.plt.close(figure)
        files.write(self.file, content.getvalue())


SHOWN = cyclical.TABLE1.only(["fixed", "triangular2", "decay", "exp_range"])


def _accuracies(ax: Axes, runs: dict[str, list[Run]]):
    """Accuracy along the runs of CLR Table 1, and its numbers as stars."""
    from clr.papers import figures

    figures.histories(runs, ax=ax, labels="direct")
    figures.published(SHOWN, runs, ax=ax)
    ax.set(xlim=(0, 86_000), ylim=(0.6, 0.85))


def _sensitivity(ax: Axes, runs: dict[str, list[Run]]):
    """Accuracy against peak rate, one line per schedule."""
    from clr.papers import figures

    shapes = {name: make(0.004) for name, make in worth_it.schedules(4000).items()}
    found = worth_it.curves(runs, list(shapes), worth_it.RATES)
    figures.sensitivity(found, shapes, below=0.15, ax=ax)


FIGURES = (
    Figure(ROOT / "data" / "headline.png", SHOWN, _accuracies),
    Figure(ROOT / "data" / "sensitivity.png", worth_it.SENSITIVITY, _sensitivity),
)


def text() -> str:
    """README.md as it should be. ValueError if a mark around the generated part is missing."""
    whole = README.read_text(encoding="utf-8")
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise ValueError(f"README.md must hold {BEGIN} and {END} once each")
    before, rest = whole.split(BEGIN)
    return before + "\n\n".join([BEGIN, claims_part(), END]) + rest.split(END)[1]


def indexes() -> dict[Path, str]:
    """README.md of `data/runs` and of each folder in it: the runs that are recorded there."""
    store, arms = Store.committed(), {}
    for experiment in EXPERIMENTS.values():
        for arm, configs in experiment.configs().items():
            for run in (run for each in configs for run in store.by_data(each).values()):
                arms.setdefault(run.path, []).append(f"{experiment.name}: {arm}")
    place = {path: i for i, path in enumerate(arms)}  # in the order of the experiments
    found, links = {}, []
    for folder in sorted({path.parent for path in store.folder.rglob("*.json")}):
        runs = [record.load(path) for path in sorted(folder.glob("*.json"))]
        runs.sort(key=lambda run: place.get(run.path, len(place)))
        head = f"{title(runs[0].data['name'])}, {runs[0].config.model}: {len(runs)} runs"
        rows = [_row(run, arms.get(run.path, [])) for run in runs]
        lines = [f"# {head}", INDEX, scoreboard.markdown(pd.DataFrame(rows))]
        found[folder / "README.md"] = "\n\n".join(lines) + "\n"
        links.append(f"* [{head}]({folder.relative_to(store.folder).as_posix()})")
    whole = "\n\n".join(["# Recorded runs", INDEX, "\n".join(links)]) + "\n"
    return {store.folder / "README.md": whole} | found


def _row(run: Run, arms: list[str]) -> dict[str, str]:
    """A row of an index: the experiments' arms that a run belongs to, and how it ended."""
    return {
        "experiment: arm, or policy": "; ".join(arms) or str(run.config.policy),
        "seed": str(run.config.seed),
        "iterations": f"{run.config.iterations:,}",
        "result": run.outcome,
        "device": run.provenance["device"],
        "record": f"[{run.path.stem.rpartition('-')[2]}]({run.path.name})",
    }


def write():
    """Bring README.md, its figures and the indexes up to date with the records."""
    whole = text()
    for figure in FIGURES:
        figure.write()
    for path, content in indexes().items():
        files.write(path, content.encode())
    files.write(README, whole.encode())
