"""A page with every recorded run: filters, curves, and the command that repeats each.

    write(Path("runs.html"))

The page is one file that fetches nothing. A number in a table can link to its runs: `address`
gives the address of one run, and `arm_address` that of all runs of an arm. In a notebook, where
there is no such page, `in_notebooks` leads to the list of the records; in the book and in the
results of `clr run`, the same link leads to the page (`INDEX` is replaced by `PAGE`).
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
_HEAD = "from clr.runs import Store; "


def address(run: Run) -> str:
    """The place of a run on the page, beside which the page lies."""
    return f"{PAGE}#run-{run_name(run.config, run.data['fingerprint'])}"


def arm_address(experiment: str, arm: str) -> str:
    """The page with the runs of one arm of an experiment alone."""
    return f"{PAGE}?{urlencode({'experiment': experiment, 'arm': arm})}"


def in_notebooks(experiment: str, arm: str) -> str:
    """The link of a notebook to the runs of one arm."""
    return arm_address(experiment, arm).replace(f"{PAGE}?", INDEX)


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
    said = f"{start}; {_HEAD}print(Store.live().train({config}).outcome)"
    return f"python -c {shlex.quote(said)}"


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


def _result(run: Run, measure: str) -> str:
    """How a run ended, as text."""
    if run.diverged or measure == "accuracy":
        return run.outcome
    return f"loss {run.history['test_loss'].iloc[-1]:.3f}"


class _Numbered(dict):
    """Values that are written once, by number."""

    def __missing__(self, key):
        self[key] = len(self)
        return self[key]


def content(runs: Iterable[Run]) -> dict:
    """What the page shows, as plain values; what several runs share is written once."""
    runs = list(runs)
    places = [(each.name, arm) for each in EXPERIMENTS.values() for arm in each.arms]
    found = [[(each.name, arm) for each, arm in arms_of(run)] for run in runs]
    used = {place for each in found for place in each}
    arms = _Numbered((place, i) for i, place in enumerate(p for p in places if p in used))
    datasets, devices, times, configs, made, shapes = (_Numbered() for _ in range(6))
    rows = []
    for run, each in zip(runs, found, strict=True):
        config, p = run.config, run.provenance
        t, values, measure = _curve(run)
        shape = icons.path(config.policy, config.iterations), colours.css(config.policy)
        threads = f"{p['threads']} threads" if p["threads"] > 1 else "1 thread"
        rows.append(
            {
                "name": run_name(config, run.data["fingerprint"]),
                "arms": [arms[place] for place in each or [(NOTEBOOKS, config.policy.name)]],
                "shape": shapes[shape],
                "peak": float(f"{run.history['lr'].max():.3g}"),
                "data": datasets[config.source.title],
                "device": devices[p["device"]],
                "config": configs[written_out(config, without=("seed", "dataset"))],
                "seed": config.seed,
                "n": config.iterations,
                "result": _result(run, measure),
                "time": duration(p["seconds"]),
                "made": made[f"torch {p['torch']}, {threads}, commit {p['commit'] or '–'}"],
                "day": p["written"][:10],
                "t": times[tuple(t)],
                "values": values,
                "loss": measure == "loss",
                "command": command(run),
            }
        )
    names = dict.fromkeys(name for name, _ in arms)
    abouts = {
        name: each.about.partition("\n")[0].replace("`", "")
        for name, each in EXPERIMENTS.items()
    }
    keys = list(rows[0]) if rows else []
    return {
        "experiments": [[n, abouts.get(n, "Runs that the notebooks trained.")] for n in names],
        "arms": list(arms),
        "shapes": list(shapes),
        "datasets": list(datasets),
        "devices": list(devices),
        "configs": list(configs),
        "made": list(made),
        "times": list(times),
        "keys": keys,
        "runs": [[row[key] for key in keys] for row in rows],
    }


def write(path: Path, store: Store | None = None) -> Path:
    """Write the page of the runs of `store`, by default of the committed records.

    Returns `path`. ValueError if a record is not whole, OSError if the file cannot be written.
    """
    data = content(recorded(store or Store.committed()))
    page = TEMPLATE.read_text("utf-8").replace("{{data}}", as_json(data))
    files.write(Path(path), page.encode())
    return Path(path)
