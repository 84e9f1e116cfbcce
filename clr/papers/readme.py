"""The generated parts of README.md, its figures, and the indexes of the recorded runs."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from clr import files
from clr.papers import EXPERIMENTS, scoreboard, worth_it
from clr.papers import statements as says
from clr.papers.chapters import Records
from clr.papers.experiment import Experiment
from clr.papers.verdicts import Summary
from clr.paths import ROOT
from clr.runs import Run, Store, record
from clr.training.data import title

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

README = ROOT / "README.md"
# what the papers are known for
HEADLINES = [says.THIRD, says.AS_LONG, says.DECAY, says.EXP_RANGE, says.SUPER]
INDEX = (
    "`python -m clr claims --readme` has written this page. "
    "What a record holds is described in the README.md of the folder `data`."
)


def answers_part() -> str:
    """The short answer: five questions, each with its answer and its numbers."""
    found = Records()
    third = "triangular2 (25,000) is not worse than fixed (70,000)"
    equal = "triangular2 (25,000) is better than fixed (25,000)"
    constant = "two cycles, to 0 is better than constant"
    cycles = found.percent("table1", "triangular2")
    ends = _range(found, "at_chosen_rates", ENDS)
    high = [f"{name}, {worth_it.RATES[-1]:g}" for name in worth_it.schedules(1)]
    stand = [name for name in high if name.startswith(worth_it.CYCLES)]
    fall = [name for name in high if name not in stand]
    lines = [
        "Is a cycle better than a fixed rate after as many iterations? "
        f"**{found.answer('table1', equal)}**: {cycles} against "
        f"{found.percent('table1', 'fixed', 25_000)}.",
        "Does it reach the fixed rate in about a third of the iterations? "
        f"**{found.answer('table1', third)}**: {cycles} against "
        f"{found.percent('table1', 'fixed')}.",
        "Is it better than a cosine or a step schedule of the same length? "
        f"**{_both(found)}**: they reach {found.percent('table1', 'cosine')} and "
        f"{found.percent('table1', 'step')}.",
        "Does it help if the rate ends at 0? "
        f"**{found.answer('at_chosen_rates', constant)}**, with cycles or without: {ends}; the "
        f"best constant rate reaches {found.percent('at_chosen_rates', 'constant')}.",
        "What if the rate is four times too high? Cycles lose least: they reach "
        f"{_range(found, 'sensitivity', stand)}, other schedules "
        f"{_range(found, 'sensitivity', fall)}.",
    ]
    return "\n".join(f"* {line}" for line in lines)


ENDS = "linear to 0", "cosine to 0", "two cycles, to 0", "constant, then linear"


def _range(found: Records, experiment: str, arms: Sequence[str]) -> str:
    """The lowest and the highest mean accuracy of some arms: '72.7 to 74.6 %'."""
    runs = found.runs(experiment)
    means = [100 * Summary.of(runs[arm]).mean for arm in arms if arm in runs]
    return f"{min(means):.1f} to {max(means):.1f} %" if means else "not run"


def _both(found: Records) -> str:
    """Whether triangular2 is better than both a cosine and a step schedule of its length."""
    answers = {
        found.answer("table1", f"triangular2 is better than {other}")
        for other in ("cosine", "step")
    }
    return answers.pop() if len(answers) == 1 else "Not that we can see"


def claims_part() -> str:
    """The verdicts on what the papers are known for, at the papers' own protocols."""
    every = scoreboard.comparisons(Store.committed())
    shown = scoreboard.statements(every).reindex(HEADLINES)
    rows = shown[["at the paper's own protocol"]].rename_axis("what the papers say")
    said = scoreboard.markdown(rows.reset_index())
    return re.sub(r"(worse|gain below the margin), ", r"**\1**, ", said)


PARTS = {"answers": answers_part, "claims": claims_part}


def marks(part: str) -> tuple[str, str]:
    """The two comments between which a generated part of README.md stands."""
    begin = f"<!-- {part}: written by `python -m clr claims --readme` -->"
    return begin, f"<!-- end of {part} -->"


@dataclass(frozen=True)
class Figure:
    """A figure that README.md shows, drawn from the committed records, for one ground.

    `draw` gets the experiment, its runs and whether the ground is dark.
    """

    file: Path
    experiment: Experiment
    draw: Callable[[Experiment, dict[str, list[Run]], bool], FigureBase]
    dark: bool = False

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
        figure = self.draw(self.experiment, self.runs(), self.dark)
        content = io.BytesIO()
        figure.savefig(content, metadata={"Records": self.id()}, dpi=180)
        files.write(self.file, content.getvalue())


def _schedules(experiment: Experiment, runs: dict[str, list[Run]], dark: bool) -> FigureBase:
    """The schedules of notebook 6, each at its own best rate."""
    from clr.papers import dots  # this sets the look of all figures

    title = "Let the rate end at 0. It does not have to cycle."
    figure = dots.compare(experiment, runs, title=title, dark=dark)
    dots.plt.close(figure)
    return figure


def _write_rule():
    """Draw the rule of the verdicts for the page that explains it."""
    from clr.papers import forest

    content, figure = io.BytesIO(), forest.rule().figure
    figure.savefig(content, dpi=168)
    forest.plt.close(figure)
    files.write(RULE, content.getvalue())


RULE = ROOT / "docs" / "rule.png"
FIGURES = tuple(
    Figure(ROOT / "data" / name, worth_it.AT_CHOSEN_RATES, _schedules, dark)
    for name, dark in (("schedules.png", False), ("schedules-dark.png", True))
)


def text() -> str:
    """README.md as it should be. ValueError if a mark around a generated part is missing."""
    whole = README.read_text(encoding="utf-8")
    for part, write_part in PARTS.items():
        begin, end = marks(part)
        if whole.count(begin) != 1 or whole.count(end) != 1:
            raise ValueError(f"README.md must hold {begin} and {end} once each")
        before, rest = whole.split(begin)
        whole = before + "\n\n".join([begin, write_part(), end]) + rest.split(end)[1]
    return whole


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
    _write_rule()
    for path, content in indexes().items():
        files.write(path, content.encode())
    files.write(README, whole.encode())
