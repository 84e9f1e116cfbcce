"""A run and its record: two files, named after what was trained and on which data.

NAME.csv is the history; NAME.json holds the config, how the run ended, and where it was made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import pandas as pd

from clr.printing import percent
from clr.runs import files, form, names, provenance
from clr.runs.form import NewerFormat
from clr.training import RunConfig, Training


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has ended: its config, its results, and where it was made."""

    config: RunConfig
    history: pd.DataFrame
    ended: str  # "finished" or "diverged at iteration N"
    data: dict  # name, fingerprint, numbers of training and test images and of classes
    provenance: dict
    path: Path

    @property
    def final_accuracy(self) -> float:
        """Test accuracy at the end, a fraction."""
        return float(self.history["test_accuracy"].iloc[-1])

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite, so that the run ended there."""
        return self.ended != "finished"

    @property
    def at_chance(self) -> bool:
        """Whether the final accuracy is not better than that of guessing.

        That is 1 / classes, plus two standard errors for a test set of that size. False if
        the record has no number of classes, as in older records of image folders.
        """
        classes = self.data.get("classes") or self.config.source.classes
        if classes is None:
            return False
        chance = 1 / classes
        error = sqrt(chance * (1 - chance) / self.data["test"])
        return self.final_accuracy <= chance + 2 * error

    @property
    def outcome(self) -> str:
        """As text: '97.2 %', '5.8 % (no better than chance)' or 'diverged at iteration 7'."""
        if self.diverged:
            return self.ended
        said = " (no better than chance)" if self.at_chance else ""
        return f"{percent(self.final_accuracy)} %{said}"

    def value(self, column: str = "test_accuracy", at: int | None = None) -> float | None:
        """A column of the history at an iteration (None: at the end).

        None if the run had diverged by then. KeyError if the run was not tested there.
        """
        if self.diverged and (at is None or at >= int(self.ended.split()[-1])):
            return None  # the last row is a test of what the divergence left
        values = self.history.set_index("iteration")[column]
        return float(values.iloc[-1] if at is None else values.loc[at])

    def accuracy_at(self, iteration: int) -> float | None:
        """Test accuracy at an iteration, a fraction; as `value`."""
        return self.value("test_accuracy", iteration)


def save(training: Training, folder: Path, seconds: float, commit: str | None) -> Run:
    """Record a run that has ended in `folder`; OSError, and no record, if that fails.

    `seconds` is its duration, and `commit` names the code that trained it.
    """
    data, config = training.data, training.config
    path = folder / (names.run_name(config, data.fingerprint) + ".json")
    history = training.history.to_csv(index=False, lineterminator="\n").encode()
    record = {
        "format": form.FORMAT,
        "config": names.describe(config),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "train": len(data.train_labels),
            "test": len(data.test_labels),
            "classes": len(data.classes),
        },
        "ended": training.ended,
        "final_accuracy": float(training.history["test_accuracy"].iloc[-1]),
        "history_sha256": hashlib.sha256(history).hexdigest(),
        "provenance": provenance.of(seconds, str(training.device), commit),
    }
    files.write(path.with_suffix(".csv"), history, files.FOR_RUNS)
    files.write(path, (json.dumps(record, indent=1) + "\n").encode(), files.FOR_RUNS)
    return load(path)


def parse(path: Path, content: bytes, history: bytes) -> Run:
    """The run of a record's JSON and CSV, whose JSON lies at `path` or is to be written there.

    This decides whether a record is whole. Raises ValueError, saying what is wrong, if it is
    not, and NewerFormat if a newer version wrote it.
    """
    config, values = form.head(path.stem, content)
    table = form.history(config, values, history)
    return Run(config, table, values["ended"], values["data"], values["provenance"], path)


def load(path: Path) -> Run:
    """Read a record; ValueError, naming the file, if it is not whole or has a newer format."""
    try:
        return parse(path, path.read_bytes(), path.with_suffix(".csv").read_bytes())
    except NewerFormat as error:
        raise error.at(path) from None
    except (ValueError, OSError) as error:
        raise ValueError(f"the record {path} cannot be used: {error}") from error
