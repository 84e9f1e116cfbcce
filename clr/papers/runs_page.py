"""A page with every recorded run: filters, curves, and the command that repeats each.

    write(Path("runs.html"))

The page is one file that fetches nothing. A number in a table can link to its runs. In a
notebook, where there is no such page, `in_notebooks` leads to the list of the records; in the
book and in the results of `clr run`, the same link leads to the page (`INDEX` is replaced by
`PAGE`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from clr import files
from clr.papers import EXPERIMENTS, Experiment, colours, icons
from clr.papers.widgets.fragment import as_json
from clr.printing import duration
from clr.runs import Run, Store, record, run_name
from clr.training import RunConfig

PAGE = "runs.html"  # its name in the book
INDEX = "../data/runs/README.md?"  # seen from a notebook; a forge shows the file
TEMPLATE = Path(__file__).with_name("runs_page.html")
POINTS = 60  # of a curve, at most
NOTEBOOKS = "in notebooks"  # stands for an experiment where there is none


def in_notebooks(experiment: str, arm: str) -> str:
    """The link of a notebook to the runs of one arm."""
    return INDEX + urlencode({"experiment": experiment, "arm": arm})


def recorded(store: Store) -> list[Run]:
    """Every run that a store finds, by name; ValueError if a record is not whole."""
    paths: dict[str, Path] = {}
    for folder in (store.folder, *store.also):
        paths |= {path.stem: path for path in folder.rglob("*-seed*-*.json")}
    return [record.load(paths[name]) for name in sorted(paths)]


@cache
def _planned() -> dict[tuple, list[tuple[Experiment, str]]]:
    """The experiments and arms that plan a run, by its config without its data set."""
    found: dict[tuple, list[tuple[Experiment, str]]] = {}
    for experiment in EXPERIMENTS.values():
        for arm, configs in experiment.configs().items():
            for config in configs:
                found.setdefault(_key(config), []).append((experiment, arm))
    return found


def _key(config: RunConfig) -> tuple:
    return tuple(
        getattr(config, each.name) for each in fields(config) if each.name != "dataset"
    )


def arms_of(run: Run) -> list[tuple[Experiment, str]]:
    """The experiments that a run belongs to, each with the run's arm."""
    return _planned().get(_key(run.config), [])


def _literal(value: object) -> str:
    """A value as Python code, with double quotes around text, as a shell needs it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def written_out(config: RunConfig, *, without: Iterable[str] = ()) -> str:
    """A config as Python code: its policy, its length, and what differs from the defaults."""
    parts = [repr(config.policy), str(config.iterations)]
    for field in fields(config)[2:]:
        value = getattr(config, field.name)
        if value != field.default and field.name not in without:
            parts.append(f"{field.name}={_literal(value)}")
    return f"RunConfig({', '.join(parts)})"


def code(run: Run) -> str:
    """Python code whose last expression is the config of a run."""
    if arms := arms_of(run):
        experiment, arm = arms[0]
        given = f"{_literal(arm)}, seed={run.config.seed}"
        if run.config.dataset != experiment.dataset:
            given += f", dataset={_literal(run.config.dataset)}"
        start = "from clr.papers import EXPERIMENTS; "
        return f"{start}EXPERIMENTS[{_literal(experiment.name)}].config({given})"
    start = "from clr.policies import *; from clr.training import RunConfig; "
    return start + written_out(run.config)


def command(run: Run) -> str:
    """The shell command that trains a run again, also where it is recorded already.

    Its data must be there: a folder of images is looked for in the current folder.
    """
    start, _, config = code(run).rpartition("; ")
    train = f"from clr.runs import Store; print(Store.live().train({config}).outcome)"
    return f"python -c {shlex.quote(f'{start}; {train}')}"


def _curve(run: Run) -> tuple[list[int], list[int], str]:
    """The iterations and values of at most `POINTS` tests, and what is measured.

    Accuracies are in thousandths, losses in hundredths of a nat. The last test of a run that
    diverged is left out.
    """
    arms = arms_of(run)
    measure = arms[0][0].measure if arms else "accuracy"
    tests = run.history[:-1] if run.diverged else run.history
    rows = np.unique(np.linspace(0, len(tests) - 1, POINTS).round().astype(int))
    values = tests[f"test_{measure}"].to_numpy()[rows]
    scaled = np.rint(values * (1000 if measure == "accuracy" else 100)).astype(int)
    return tests["iteration"].to_numpy()[rows].tolist(), scaled.tolist(), measure


# the columns whose values several runs share; each value is written once
SHARED = ("shape", "data", "device", "config", "made", "t")


def _row(run: Run) -> dict:
    """What the page shows of a run; its arms are pairs of an experiment's name and an arm's."""
    config, p = run.config, run.provenance
    t, values, measure = _curve(run)
    threads = f"{p['threads']} threads" if p["threads"] > 1 else "1 thread"
    arms = [(each.name, arm) for each, arm in arms_of(run)]
    loss = f"loss {run.history['test_loss'].iloc[-1]:.3f}"
    return {
        "name": run_name(config, run.data["fingerprint"]),
        "arms": arms or [(NOTEBOOKS, config.policy.name)],
        "shape": (icons.path(config.policy, config.iterations), colours.css(config.policy)),
        "peak": float(f"{run.history['lr'].max():.3g}"),
        "data": config.source.title,
        "device": p["device"],
        "config": written_out(config, without=("seed", "dataset")),
        "seed": config.seed,
        "n": config.iterations,
        "result": loss if measure == "loss" and not run.diverged else run.outcome,
        "time": duration(p["seconds"]),
        "made": f"torch {p['torch']}, {threads}, commit {p['commit'] or '–'}",
        "day": p["written"][:10],
        "t": tuple(t),
        "values": values,
        "loss": measure == "loss",
        "command": command(run),
    }


def content(runs: Iterable[Run]) -> dict:
    """What the page shows, as plain values; what several runs share is written once."""
    rows = [_row(run) for run in runs]
    places = [(each.name, arm) for each in EXPERIMENTS.values() for arm in each.arms]
    used = dict.fromkeys(place for row in rows for place in row["arms"])
    arms = [place for place in dict.fromkeys([*places, *used]) if place in used]
    for row in rows:
        row["arms"] = [arms.index(place) for place in row["arms"]]
    shared = {}
    for key in SHARED:
        number = {value: i for i, value in enumerate(dict.fromkeys(row[key] for row in rows))}
        shared[key] = list(number)
        for row in rows:
            row[key] = number[row[key]]
    abouts = {
        name: each.about.partition("\n")[0].replace("`", "")
        for name, each in EXPERIMENTS.items()
    }
    names = dict.fromkeys(name for name, _ in arms)
    experiments = [[n, abouts.get(n, "Runs that the notebooks trained.")] for n in names]
    return {
        "experiments": experiments,
        "arms": arms,
        "shared": shared,
        "keys": list(rows[0]) if rows else [],
        "runs": [list(row.values()) for row in rows],
    }


def write(path: Path, store: Store | None = None) -> Path:
    """Write the page of the runs of `store`, by default of the committed records.

    Returns `path`. ValueError if a record is not whole, OSError if the file cannot be written.
    """
    data = content(recorded(store or Store.committed()))
    page = TEMPLATE.read_text("utf-8").replace("{{data}}", as_json(data))
    files.write(Path(path), page.encode())
    return Path(path)
