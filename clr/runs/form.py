"""The form of a record: what its two files must hold, so that it can be used.

`head` checks the JSON and `history` the CSV. They raise ValueError, saying what is wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pandas as pd

from clr import checks
from clr.runs import names
from clr.training import SECOND, VALIDATION, RunConfig, Source, columns

FORMAT = 1
LEFT = "it is not changed. Update the package, or set CLR_RUNS to another folder"  # advice


class NewerFormat(ValueError):
    """A record or checkpoint written by a newer version of this package."""

    def at(self, where: object, advice: str = LEFT) -> NewerFormat:
        """The same error with the file's name in front, and what can be done."""
        return NewerFormat(f"{where} {self}; {advice}")


def check_format(found: object):
    """NewerFormat if a format's number is above the one that this package writes."""
    if checks.whole("format", found) > FORMAT:
        raise NewerFormat(
            f"has format {found}, written by a newer version of this package, which reads up "
            f"to {FORMAT}"
        )


@contextmanager
def _said():
    """Turn any error about a record's values into a ValueError that says what is wrong."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _object(name: str, value: object) -> dict:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a JSON object; got {checks.shown(value)}")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{name} must be a text without control characters; got {value!r}")
    return value


def _text_or_none(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _sha256(name: str, value: object) -> str:
    if not re.fullmatch("[0-9a-f]{64}", _text(name, value)):
        raise ValueError(f"{name} must be a sha256 in hex, 64 digits; got {value!r}")
    return value


def _accuracy(name: str, value: object) -> float:
    return checks.real(name, value, 0, 1, "a fraction, from 0 to 1")


def _data_name(name: str, value: object) -> str:
    """Check the name of a data set in a record; an image folder has its name, not its path."""
    folder = Source.parse(value).folder
    if folder is not None and (folder.name == ".." or value != f"folder:{folder.name}"):
        raise ValueError(f"{name} must hold no path; got {value!r}")
    return value


# the checks of the values that every record has, and (…_ADDED) of those added later
Checks = dict[str, Callable[[str, object], object]]
DATA: Checks = {
    "name": _data_name,
    "fingerprint": _sha256,
    "train": checks.whole,
    "test": checks.whole,
}
DATA_ADDED: Checks = {"classes": checks.whole}
PROVENANCE: Checks = {
    "seconds": checks.rate,
    "device": _text,
    "threads": checks.whole,
    "python": _text,
    "torch": _text,
    "numpy": _text,
    "commit": _text_or_none,
    "written": _text,
}
PROVENANCE_ADDED: Checks = {
    "processor": _text_or_none,
    "instructions": _text,
    "tf32": checks.flag,
    "cores": checks.whole_or_none,
}


def _check(values: dict, required: Checks, added: Checks):
    for name, check in required.items():
        check(name, values[name])
    for name in set(added) & set(values):
        added[name](name, values[name])


def head(name: str, content: bytes) -> tuple[RunConfig, dict]:
    """The config and all values of the JSON of the record that is called `name`.

    NewerFormat if a newer version wrote it.
    """
    with _said():
        values = _object("the record", json.loads(content))
        check_format(values["format"])
        data, described = (_object(key, values[key]) for key in ("data", "config"))
        _check(data, DATA, DATA_ADDED)
        _check(_object("provenance", values["provenance"]), PROVENANCE, PROVENANCE_ADDED)
        _check(values, {"history_sha256": _sha256}, {"final_accuracy": _accuracy})
        kind = Source.parse(data["name"]).kind
        if described["dataset"] != kind:
            raise ValueError(
                f"dataset must be {kind}; got {checks.shown(described['dataset'])}"
            )
        for key in ("policy", "momentum_policy"):
            if described.get(key) is not None:
                _object(key, described[key])
        config = RunConfig.from_dict(described | {"dataset": data["name"]})
        _last_iteration(config, values["ended"])
    if name != (right := names.run_name(config, data["fingerprint"])):
        raise ValueError(
            f"it has another config or other data than its name says; it must be named {right}"
        )
    return config, values


def _last_iteration(config: RunConfig, ended: object) -> int:
    """The iteration of a history's last row: the end or, after a divergence, the next test."""
    if ended == "finished":
        return config.iterations
    found = re.fullmatch(r"diverged at iteration ([1-9]\d{0,15})", _text("ended", ended))
    if not found or int(found[1]) > config.iterations:
        raise ValueError(
            "ended must be 'finished' or 'diverged at iteration N', with N from 1 to "
            f"{config.iterations}; got {checks.shown(ended)}"
        )
    tests = -(-int(found[1]) // config.test_every)  # rounded up
    return min(tests * config.test_every, config.iterations)


def history(config: RunConfig, values: dict, content: bytes) -> pd.DataFrame:
    """The table of a record's CSV; `config` and `values` are what `head` gave."""
    if hashlib.sha256(content).hexdigest() != values["history_sha256"]:
        raise ValueError("its CSV does not have the recorded checksum")
    table = pd.read_csv(io.BytesIO(content))
    if list(table.columns) != columns(config) or not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"its CSV must have the columns {', '.join(columns(config))}")
    kinds = [kind.kind for kind in table.dtypes]
    if kinds[0] != "i" or not set(kinds) <= {"i", "f"}:
        raise ValueError("its CSV must hold numbers and nothing else, and whole iterations")
    _check_iterations(config, _last_iteration(config, values["ended"]), table["iteration"])
    for column in {"test_accuracy", VALIDATION, SECOND[1]} & set(table.columns):
        if not table[column].between(0, 1).all():
            raise ValueError(f"{column} must be a fraction, from 0 to 1, in each row")
    if not (np.isfinite(table["lr"]) & (table["lr"] >= 0)).all():
        raise ValueError("lr must be finite and at least 0 in each row")
    if values["ended"] == "finished" and not np.isfinite(table["train_loss"][1:]).all():
        raise ValueError("train_loss must be finite in each row of a finished run")
    final = float(table["test_accuracy"].iloc[-1])
    said = values.get("final_accuracy", final)
    # in some versions of pandas, read_csv rounds the last bit differently
    if abs(said - final) > 1e-12:
        raise ValueError(f"final_accuracy is {said}, but its CSV ends with {final}")
    return table


def _check_iterations(config: RunConfig, last: int, found: pd.Series):
    """ValueError unless there is a row for each test, and no other."""
    before = range(0, last, config.test_every)  # can be long: its length is compared first
    if len(found) != len(before) + 1 or found.tolist() != [*before, last]:
        ends = f"{found.iloc[0]} to {found.iloc[-1]}"
        raise ValueError(
            f"its CSV must have a row every {config.test_every} iterations from 0 to {last}; "
            f"it has {len(found)}: {ends}"
        )
