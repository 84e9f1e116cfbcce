"""The generated parts of README.md, its figures, and the indexes of the recorded runs."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from clr import files
from clr.papers import EXPERIMENTS, Experiment, scoreboard, worth_it
from clr.papers import statements as says
from clr.papers.chapters import Records
from clr.papers.sensitivity import at_highest
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
    """The short answer: questions, each with its answer and its numbers."""
    found = Records()
    third = "triangular2 (25,000) is not worse than fixed (70,000)"
    equal = "triangular2 (25,000) is better than fixed (25,000)"
    hold = "constant, then linear is better than linear to 0"
    cycles = found.percent("table1", "triangular2")
    cycling, risen, others = found.over_rates()
    high, each = worth_it.RATES[-1], [*cycling, *risen, *others]
    low, best = (f(curve.chosen for curve in each) for f in (min, max))
    failed, n = sum(c.failed[-1] for c in others), sum(len(c.test[-1]) for c in others)
    lines = [
        "Trained equally long (25,000 iterations), is a cyclical rate, triangular2, better "
        f"than the paper's fixed rate? **{found.answer('table1', equal)}**: {cycles} against "
        f"{found.percent('table1', 'fixed', 25_000)}. At 16,000 iterations, just before the "
        "rates of triangular2 are divided by ten: "
        f"{found.percent('table1', 'triangular2', 16_000)} against "
        f"{found.percent('table1', 'fixed', 16_000)}.",
        "Does it reach the accuracy of the fixed rate after 70,000 iterations? "
        f"**{found.answer('table1', third)}**: {cycles} against "
        f"{found.percent('table1', 'fixed')}{_doubt(found.row('table1', third))}.",
        "Is it better than a cosine or a step schedule of 25,000 iterations? "
        f"**{_both(found)}**: they reach {found.percent('table1', 'cosine')} and "
        f"{found.percent('table1', 'step')}.",
        "Is a schedule better if its rate ends at 0, not at 0.001 (4,000 iterations)? "
        f"{_ends(found)}",
        "Is it better to hold the rate, and to let it fall to 0 at the end, than to let it "
        f"fall from the start (4,000 iterations)? **{found.answer('warm_up', hold)}**: "
        f"{found.percent('warm_up', 'constant, then linear')} against "
        f"{found.percent('warm_up', 'linear to 0')}.",
        f"What if the peak rate is too high, {high:g} instead of {low:g} to {best:g} (4,000 "
        "iterations)? Schedules that rise to it first reach more: cycles "
        f"{at_highest(cycling)}, and falls after a warm-up {at_highest(risen)}. Schedules that "
        f"begin at this rate reach {at_highest(others)} ({failed} of {n} runs learned "
        "nothing).",
        *_on_text(found),
    ]
    return "\n".join(f"* {line}" for line in lines)


def _on_text(found: Records) -> list[str]:
    """Whether a second rise pays on text, once `again` has decided that it does not."""
    if found.row("again", "two cycles to 0 is not worse than linear")["verdict"] != "worse":
        return []
    two, linear, one = (
        f"{Summary.of(found.runs('again')[arm], column='test_loss').mean:.3f}"
        for arm in ("two cycles to 0", "linear", "one cycle")
    )
    return [
        "Does a second rise pay for a small transformer on text (800 iterations)? **No**: the "
        f"loss is {two} nats per byte after two cycles, {one} after one cycle, and {linear} "
        "after a linear fall with a warm-up."
    ]


def _doubt(row: Mapping) -> str:
    """What is added to the answer "No" if the verdict does not survive Holm's correction."""
    if row["holm"] != "no":
        return ""
    margin = f"{100 * row['margin']:g} points"
    return f" (after Holm's correction, it is not certain that it is more than {margin} lower)"


def _ends(found: Records) -> str:
    """Whether each shape of `matched_ends` is better with an end at 0, and by how much."""
    claims = [
        f"{shape}, to 0 is better than {shape}, to 0.001"
        for shape in ("falls once", *worth_it.CYCLE_COUNTS)
    ]
    answers = {found.answer("matched_ends", claim) for claim in claims}
    gains = [found.row("matched_ends", claim)["difference"] for claim in claims]
    if len(answers) > 1 or None in gains:
        return "**Undecided**."
    low, high = (f"{100 * gain:.1f}" for gain in (min(gains), max(gains)))
    return f"**{answers.pop()}**, with cycles or without: by {low} to {high} points."


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
    return re.sub(r"(worse|gain below the margin)(\\\*)?, ", r"**\1**\2, ", said)


PARTS = {"answers": answers_part, "claims": claims_part}


def marks(part: str) -> tuple[str, str]:
    """The two comments between which a generated part of README.md stands."""
    begin = f"<!-- {part}: written by `python -m clr claims --readme` -->"
    return begin, f"<!-- end of {part} -->"


SCHEDULES = {False: ROOT / "data" / "schedules.png", True: ROOT / "data" / "schedules-dark.png"}
RULE = ROOT / "docs" / "rule.png"


def shown() -> tuple[Experiment, dict[str, list[Run]]]:
    """What the figures of README.md show: the first workload of notebook 6, and its runs."""
    from clr.papers import dots  # this sets the look of all figures

    return next(iter(dots.workloads(Store.committed()).values()))


def figure_id() -> str:
    """A hash of the histories that the figures of README.md show; it is stored in the PNGs."""
    whole = hashlib.sha256()
    for run in itertools.chain(*shown()[1].values()):
        whole.update(record.as_csv(run.history).encode())
    return whole.hexdigest()


def draw():
    """Draw the schedules of notebook 6 for both grounds, and the rule of the verdicts."""
    from clr.papers import dots, forest

    title = "Let the rate end at 0. It does not have to cycle."
    (experiment, runs), metadata = shown(), {"Records": figure_id()}
    for dark, file in SCHEDULES.items():
        figure = dots.compare(experiment, runs, title=title, dark=dark)
        _save(figure, file, dpi=180, metadata=metadata)
    _save(forest.rule().figure, RULE, dpi=168)


def _save(figure: FigureBase, file: Path, **how):
    from clr.papers.figures import plt

    content = io.BytesIO()
    figure.savefig(content, **how)
    plt.close(figure)
    files.write(file, content.getvalue())


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
    draw()
    for path, content in indexes().items():
        files.write(path, content.encode())
    files.write(README, whole.encode())
