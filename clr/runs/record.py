"""A run and its record: a JSON file, named after what was trained and on which data.

The file `DATA/MODEL/NAME.json` holds the config, the data, how the run ended, where it was made
and, in lines of CSV, the history. NAME ends in a hash of the config and of the data; no path,
device or number of threads is in it. A record is *whole* if `check` accepts it.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from functools import cache, cached_property
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd

from clr import checks, files
from clr.printing import percent
from clr.runs import provenance
from clr.training import RunConfig, Source, Training, columns
from clr.training.config import DEFAULTS

FORMAT = 2  # in format 1, the history was a CSV file beside the JSON file
LARGEST = 16 * 2**20  # bytes; the history of `config.MOST_ROWS` rows takes less
IN_RUNS = ". Set CLR_RUNS to another folder for runs"  # advice
UPDATE = "it is not changed. Update the package, or set CLR_RUNS to another folder"  # advice


class NewerFormat(ValueError):
    """A record or checkpoint written by a newer version of this package."""


# --- names and places ----------------------------------------------------------


def recorded(config: RunConfig) -> dict:
    """The config's values as they are hashed and recorded: an image folder without its path."""
    return config.to_dict() | {"dataset": config.source.kind}


def hashed_name(values: dict, fingerprint: str) -> str:
    """The name of the record of a config with these `recorded` values.

    Fields that have their default are left out of the hash, so a new field of `RunConfig`
    changes no name.
    """
    short = {k: v for k, v in values.items() if v != DEFAULTS.get(k, MISSING)}
    canonical = json.dumps([short, fingerprint], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    parts = values["dataset"], values["model"], values["policy"]["policy"]
    return "-".join([*parts, f"seed{values['seed']}", digest])


def run_name(config: RunConfig, fingerprint: str) -> str:
    """The record's file name, without suffix, on the data with that fingerprint."""
    return hashed_name(recorded(config), fingerprint)


def place(folder: Path, data: str, model: str, name: str) -> Path:
    """Where in `folder` the record `name` lies; `data` is the name of the data set."""
    return folder / re.sub(r"[^\w.-]", "-", data) / model / f"{name}.json"


# --- the run -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Run:
    """A run that has ended: its config, its results, and where it was made."""

    config: RunConfig
    columns: dict[str, np.ndarray]  # of the history, with a value for each test
    ended: str  # "finished" or "diverged at iteration N"
    data: dict  # name, fingerprint, numbers of training and test images and of classes
    provenance: dict
    path: Path

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row for each test: its iteration, the rate there, and the columns of `Training`."""
        return pd.DataFrame(self.columns)

    @property
    def final_accuracy(self) -> float:
        """Test accuracy at the end, a fraction; KeyError if the history has no accuracies."""
        return float(self.columns["test_accuracy"][-1])

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
        """As text: '97.2 %', '5.8 % (no better than chance)' or 'diverged at iteration 7'.

        'test loss 1.234' for a text, and if the history has no accuracies.
        """
        if self.diverged:
            return self.ended
        if self.config.source.kind == "text" or "test_accuracy" not in self.columns:
            return f"test loss {self.columns['test_loss'][-1]:.3f}"
        said = " (no better than chance)" if self.at_chance else ""
        return f"{percent(self.final_accuracy)} %{said}"

    def value(self, column: str = "test_accuracy", at: int | None = None) -> float | None:
        """A column of the history at an iteration (None: at the end).

        None if the run had diverged by then. KeyError if the run was not tested there.
        """
        if self.diverged and (at is None or at >= int(self.ended.split()[-1])):
            return None  # the last row is a test of what the divergence left
        tests = self.columns["iteration"].tolist()
        row = -1 if at is None else {iteration: row for row, iteration in enumerate(tests)}[at]
        return float(self.columns[column][row])

    def accuracy_at(self, iteration: int) -> float | None:
        """Test accuracy at an iteration, a fraction; as `value`."""
        return self.value("test_accuracy", iteration)


def as_csv(history: pd.DataFrame) -> str:
    """A history as the text whose lines are in its record; no digit is lost."""
    return history.to_csv(index=False, lineterminator="\n")


def save(training: Training, folder: Path, seconds: float, commit: str | None) -> Run:
    """Record a run that has ended in `folder`; OSError, and no record, if that fails.

    `seconds` is its duration, and `commit` names the code that trained it.
    """
    data, config, history = training.data, training.config, training.history
    text, final = as_csv(history), {}
    if "test_accuracy" in history:
        final["final_accuracy"] = float(history["test_accuracy"].iloc[-1])
    values = {
        "format": FORMAT,
        "config": recorded(config),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "train": len(data.train_labels),
            "test": len(data.test_labels),
            "classes": len(data.classes),
        },
        "ended": training.ended,
        **final,
        "history_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "provenance": provenance.stamp(seconds, str(training.device), commit),
        "history": text.splitlines(),
    }
    name = run_name(config, data.fingerprint)
    path = place(folder, data.name, config.model, name)
    files.write(path, as_json(values), IN_RUNS)
    return load(path)


def as_json(values: dict) -> bytes:
    """The content of a record's file."""
    return (json.dumps(values, indent=1) + "\n").encode()


# --- reading -------------------------------------------------------------------


def load(path: Path) -> Run:
    """Read a record; ValueError, naming the file, if it is not whole or has a newer format."""
    with named(f"the record {path}", "cannot be used", UPDATE):
        state = _state(path)
        values, (config, history) = _values(path, state), _checked(path, state)
    data, made = dict(values["data"]), dict(values["provenance"])
    return Run(config, history, values["ended"], data, made, path)


def data_of(path: Path) -> tuple[str, str]:
    """The name and the fingerprint of a record's data; ValueError as in `load`.

    Nothing else of the record is checked, since a search reads the data of many records.
    """
    with named(f"the record {path}", "cannot be used", UPDATE):
        data = _values(path, _state(path))["data"]
    return data["name"], data["fingerprint"]


def read(path: Path) -> bytes:
    """The content of a file; ValueError if it is not a file, or is too large for a record."""
    _state(path)
    return path.read_bytes()


@contextmanager
def named(what: str, problem: str, advice: str):
    """Raise any error about a record's content as a ValueError that names the record.

    `problem` says what follows from the error, and `advice` what to do if a newer version wrote
    the record (the error is a NewerFormat then).
    """
    try:
        yield
    except NewerFormat as error:
        raise NewerFormat(f"{what} {error}; {advice}") from None
    except KeyError as error:
        raise ValueError(f"{what} {problem}: it has no {error}") from error
    except RecursionError:
        raise ValueError(f"{what} {problem}: its JSON is nested too deeply") from None
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise ValueError(f"{what} {problem}: {error}") from error


def _state(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is written again."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a file")
    if found.st_size > LARGEST:
        raise ValueError(f"it has {found.st_size:,} bytes; a record has at most {LARGEST:,}")
    return found.st_ino, found.st_size, found.st_mtime_ns


@cache  # a file is read once, until it changes
def _values(path: Path, state: tuple[int, ...]) -> dict:
    return parse(path.read_bytes())


@cache
def _checked(path: Path, state: tuple[int, ...]) -> tuple[RunConfig, dict[str, np.ndarray]]:
    return check(path.stem, _values(path, state))


# --- what 'whole' means: these functions raise any error, for `named` ------------


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{name} must be a text without control characters; got {value!r}")
    return value


def _data_name(name: str, value: object) -> str:
    """Check the name of a data set in a record; an image folder has its name, not its path."""
    folder = Source.parse(value).folder
    if folder is not None and (folder.name == ".." or value != f"folder:{folder.name}"):
        raise ValueError(f"{name} must hold no path; got {value!r}")
    return value


Checks = dict[str, Callable[[str, object], object]]
DATA: Checks = {
    "name": _data_name,
    "fingerprint": _text,
    "train": checks.whole,
    "test": checks.whole,
    "classes": checks.whole,
}
PROVENANCE: Checks = {
    "seconds": checks.rate,
    "device": _text,
    "threads": checks.whole,
    "python": _text,
    "torch": _text,
    "numpy": _text,
    "commit": checks.or_none(_text),
    "written": _text,
    "processor": checks.or_none(_text),
    "instructions": _text,
    "tf32": checks.flag,
    "cores": checks.or_none(checks.whole),
}
OPTIONAL = {"classes", "processor", "instructions", "tf32", "cores"}  # older records lack them


def _check_each(values: dict, wanted: Checks):
    for name, check_value in wanted.items():
        if name in values or name not in OPTIONAL:
            check_value(name, values[name])


def check_format(found: object, newest: int = FORMAT):
    """NewerFormat if a format's number is above the newest one that this package reads."""
    if checks.whole("format", found) > newest:
        raise NewerFormat(
            f"has format {found}, written by a newer version of this package, which reads up "
            f"to {newest}"
        )


def parse(content: bytes) -> dict:
    """The values of a record's JSON, of this format or of format 1, and its data checked."""
    values = json.loads(content)
    check_format(values["format"])
    _check_each(values["data"], DATA)
    return values


def check(name: str, values: dict) -> tuple[RunConfig, dict[str, np.ndarray]]:
    """The config and the history's columns of the record that is called `name`.

    `values` are what `parse` gave. Raises an error, saying what is wrong, if the record is not
    whole.
    """
    data, settings = values["data"], values["config"]
    _check_each(values["provenance"], PROVENANCE)
    kind = Source.parse(data["name"]).kind
    checks.one_of("dataset", settings["dataset"], [kind])
    config = RunConfig.from_dict(settings | {"dataset": data["name"]})
    if name != (right := hashed_name(recorded(config), data["fingerprint"])):
        raise ValueError(
            f"it has another config or other data than its name says; it must be named {right}"
        )
    return config, _history(config, values)


def _history(config: RunConfig, values: dict) -> dict[str, np.ndarray]:
    """The columns of a record's history."""
    lines, names = values["history"], columns(config)
    text = "\n".join(lines) + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != values["history_sha256"]:
        raise ValueError("its history does not have the recorded checksum")
    if lines[:1] != [",".join(names)]:
        raise ValueError(f"its history must have the columns {', '.join(names)}")
    cells = [line.split(",") for line in lines[1:]]
    _check_iterations(config, values["ended"], [row[0] for row in cells])
    if {len(row) for row in cells} != {len(names)}:
        raise ValueError(f"its history must have {len(names)} cells in each row")
    rows = [[float(cell or "nan") for cell in row] for row in cells]
    table = dict(zip(names, np.array(rows).T.copy(), strict=True))
    for name in names:
        if name.endswith("accuracy") and not ((table[name] >= 0) & (table[name] <= 1)).all():
            raise ValueError(f"{name} must be a fraction, from 0 to 1, in each row")
    if not (np.isfinite(table["lr"]) & (table["lr"] >= 0)).all():
        raise ValueError("lr must be finite and at least 0 in each row")
    if values["ended"] == "finished" and not np.isfinite(table["train_loss"][1:]).all():
        raise ValueError("train_loss must be finite in each row of a finished run")
    if "final_accuracy" in values and values["final_accuracy"] != table["test_accuracy"][-1]:
        raise ValueError("final_accuracy is not that of the last row of its history")
    return table | {"iteration": table["iteration"].astype(np.int64)}


def tested(config: RunConfig, last: int) -> list[int]:
    """The iterations at which a run is tested, if the last test is at `last`."""
    return [*range(0, last, config.test_every), last]


def _check_iterations(config: RunConfig, ended: object, found: list[str]):
    """ValueError unless there is a row for each test up to the end, and no other."""
    last = config.iterations
    if ended != "finished":
        diverged = re.fullmatch(r"diverged at iteration ([1-9]\d{0,15})", _text("ended", ended))
        if not diverged or int(diverged[1]) > last:
            raise ValueError(
                "ended must be 'finished' or 'diverged at iteration N', with N from 1 to "
                f"{last}; got {checks.shown(ended)}"
            )
        tests = -(-int(diverged[1]) // config.test_every)  # rounded up: the next test
        last = min(tests * config.test_every, last)
    if found != [str(iteration) for iteration in tested(config, last)]:
        raise ValueError(
            f"its history must have a row every {config.test_every} iterations from 0 to "
            f"{last}; it has {len(found)}: {', '.join(found[:1] + found[-1:])}"
        )
