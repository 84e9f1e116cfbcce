"""A run and its record: two files, named after what was trained and on which data.

NAME.csv is the history; NAME.json holds the config, how the run ended, and where it was made.
NAME ends in a hash of the config and the data's fingerprint; no path, device or number of
threads is in it.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import pandas as pd

from clr.runs import files, provenance
from clr.training import RunConfig, Training

FORMAT = 1
_DEFAULTS = {field.name: field.default for field in fields(RunConfig)}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: what was asked, what came out, and where it was made."""

    config: RunConfig
    history: pd.DataFrame
    ended: str  # "finished" or "diverged at iteration N"
    data: dict  # name, fingerprint, number of training and test images
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

    def accuracy_at(self, iteration: int) -> float | None:
        """Test accuracy at an iteration, a fraction; None if the run had diverged before.

        KeyError if the run was not tested there.
        """
        tests = self.history.set_index("iteration")["test_accuracy"]
        if self.diverged and iteration > tests.index[-1]:
            return None
        return float(tests.loc[iteration])


def describe(config: RunConfig) -> dict:
    """The config as it is hashed and recorded: an image folder without its path."""
    return config.to_dict() | {"dataset": config.source.kind}


def content(values: dict) -> dict:
    """What `describe` gives, without the fields that have their default.

    A new field of `RunConfig` therefore changes no name.
    """
    return {k: v for k, v in values.items() if v != _DEFAULTS.get(k, MISSING)}


def run_name(config: RunConfig, fingerprint: str) -> str:
    """The record's file name, without suffix."""
    values = describe(config)
    hashed = [content(values), fingerprint]
    canonical = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    parts = [values["dataset"], config.model, config.policy.name, f"seed{config.seed}"]
    return "-".join([*parts, digest])


def save(training: Training, folder: Path, seconds: float) -> Run:
    """Record an ended run in `folder`; OSError, leaving nothing behind, if it can't."""
    data, config = training.data, training.config
    path = folder / (run_name(config, data.fingerprint) + ".json")
    history = training.history.to_csv(index=False).encode()
    record = {
        "format": FORMAT,
        "config": describe(config),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "train": len(data.train_labels),
            "test": len(data.test_labels),
        },
        "ended": training.ended,
        "history_sha256": hashlib.sha256(history).hexdigest(),
        "provenance": provenance.of(seconds, str(training.device)),
    }
    files.write(path.with_suffix(".csv"), history, files.FOR_RUNS)
    files.write(path, (json.dumps(record, indent=1) + "\n").encode(), files.FOR_RUNS)
    return load(path)


class NewerFormat(ValueError):
    """A record or checkpoint written by a newer version of this package."""


def check_format(found: int, path: Path):
    """NewerFormat, naming the file, if its format is newer than this package's."""
    if found > FORMAT:
        raise NewerFormat(
            f"{path} has format {found}, written by a newer version of this package, which "
            f"reads up to {FORMAT}; it is left as it is. Update the package, or let CLR_RUNS "
            "name another folder"
        )


def load(path: Path) -> Run:
    """Read a record; ValueError, naming the file, if it is damaged or from the future."""
    try:
        record = json.loads(path.read_text())
        check_format(record["format"], path)
        history = path.with_suffix(".csv").read_bytes()
        if hashlib.sha256(history).hexdigest() != record["history_sha256"]:
            raise ValueError("its CSV does not have the recorded checksum")
        config = RunConfig.from_dict(record["config"] | {"dataset": record["data"]["name"]})
        table = pd.read_csv(io.BytesIO(history))
        return Run(config, table, record["ended"], record["data"], record["provenance"], path)
    except NewerFormat:
        raise
    except KeyError as error:
        raise ValueError(f"the record {path} cannot be used: it has no {error}") from error
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"the record {path} cannot be used: {error}") from error
