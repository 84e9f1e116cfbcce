"""Runs, records and experiments made by hand, for the tests."""

import hashlib
import json
from dataclasses import replace

import numpy as np

from clr.papers import Arm, Experiment
from clr.paths import ROOT
from clr.policies import Fixed
from clr.runs import Run, Store, record
from clr.training import COLUMNS, RunConfig, columns


def run(accuracies, policy=None, ended="finished", losses=None, **values):
    """A run tested every 10 iterations, with these accuracies, and losses of 1 or these."""
    config = RunConfig(policy or Fixed(0.1), 10 * (len(accuracies) - 1), **values)
    pairs = zip(losses or [1.0] * len(accuracies), accuracies, strict=True)
    rows = [[10 * i, 0.1, 1.0, *pair] for i, pair in enumerate(pairs)]
    return Run(
        config,
        dict(zip(COLUMNS, np.array(rows, float).T, strict=True)),
        ended,
        {"name": config.dataset, "train": 8, "test": 2},
        {"seconds": 7200, "device": "CPU", "threads": 1, "torch": "2"},
        ROOT,
    )


def trained(store, config, **options):
    """A made-up run of any config: its accuracy rises, and the seed moves it a little."""
    names, last = columns(config), config.iterations
    t = np.array([*range(0, last, config.test_every), last])
    history = {name: np.full(len(t), 0.5) for name in names}
    history["iteration"], history["lr"] = t, config.policy(t)
    for name in [name for name in names if name.endswith("accuracy")]:
        history[name] = 0.1 + (0.6 + 0.01 * config.seed) * (1 - np.exp(-5 * t / last))
    data = {"name": config.dataset, "train": 8, "test": 2, "classes": 10}
    made = {"seconds": 1, "device": "CPU", "threads": 1, "torch": "2"}
    return Run(config, history, "finished", data, made, ROOT)


def replace_trainings():
    """From now on, a store makes up the runs that it should train."""
    Store.train = trained


def experiment(arms=("fixed", "triangular2"), claims=(), iterations=20, **values):
    """An experiment of such arms, or of arms by name, that are tested every 10 iterations."""
    defaults = {"name": "table1", "about": "", "paper": "ours", "dataset": "digits"}
    defaults |= {"seeds": 2, "settings": {"test_every": 10}}
    if not isinstance(arms, dict):
        arms = {arm: Arm(Fixed((i + 1) / 10), iterations) for i, arm in enumerate(arms)}
    return Experiment(**(defaults | {"arms": arms, "claims": tuple(claims)} | values))


def rewrite(path, history, **values):
    """Give a record another history and other values in its JSON."""
    text = record.as_csv(history)
    kept = {k: v for k, v in json.loads(path.read_text()).items() if k != "final_accuracy"}
    values |= {"history_sha256": hashlib.sha256(text.encode()).hexdigest()}
    path.write_bytes(record.as_json(kept | values | {"history": text.splitlines()}))


def histories(folder):
    """The histories of all records below a folder, as lines of text, by the records' names."""
    return {p.stem: json.loads(p.read_text())["history"] for p in folder.rglob("*.json")}


def validated(experiment, column, score):
    """Two runs of each arm "SCHEDULE, RATE"; `score(schedule, rate)` is their `column`."""
    found, one = {}, run([0.1, 0.2, 0.3])
    for arm in experiment.arms:
        schedule, rate = arm.rsplit(", ", 1)
        values = np.full(3, score(schedule, float(rate)))
        found[arm] = [replace(one, columns=one.columns | {column: values})] * 2
    return found
