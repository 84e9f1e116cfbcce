"""The run store: a run is trained once, recorded, and found again by what it is.

`load_or_train(config)` returns a finished record, continues an interrupted run
from its checkpoint, or trains. Records are looked for in `data/runs` (committed)
and in the live store, `data/cache/runs` unless the environment's `CLR_RUNS` names
another folder; new ones go to the live store.

A record is two files: NAME.csv, the history, and NAME.json, the config, how the run
ended, and where it was made. NAME ends in a hash of the config and the data's
fingerprint; no path, device or thread count is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clr import files
from clr.paths import RECORDED, ROOT, live_store
from clr.training import RunConfig, Training, datasets
from clr.training.datasets import Dataset

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


def describe(config: RunConfig) -> dict:
    """The config as it is hashed and recorded: an image folder without its path."""
    return config.to_dict() | {"dataset": config.source.kind}


def run_name(config: RunConfig, fingerprint: str) -> str:
    """The record's file name, without suffix."""
    values = describe(config)
    # fields that have their default are left out, so that a new field changes no name
    content = {k: v for k, v in values.items() if v != _DEFAULTS.get(k, MISSING)}
    canonical = json.dumps([content, fingerprint], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    parts = [values["dataset"], config.model, config.policy.name, f"seed{config.seed}"]
    return "-".join([*parts, digest])


def _commit() -> str | None:
    """The package's git commit, with a + if its files differ from it; None without git."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--", "clr"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+" * bool(changes)


def _provenance(seconds: float, device: str) -> dict:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    return {
        "seconds": round(seconds, 1),
        "device": f"{name} ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": _commit(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


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
        "provenance": _provenance(seconds, str(training.device)),
    }
    files.write(path.with_suffix(".csv"), history, files.FOR_RUNS)
    files.write(path, (json.dumps(record, indent=1) + "\n").encode(), files.FOR_RUNS)
    return load(path)


class NewerFormat(ValueError):
    """A record or checkpoint written by a newer version of this package."""


def _check_format(found: int, path: Path):
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
        _check_format(record["format"], path)
        history = path.with_suffix(".csv").read_bytes()
        if hashlib.sha256(history).hexdigest() != record["history_sha256"]:
            raise ValueError("its CSV does not have the recorded checksum")
        values = record["config"]
        if values["dataset"] == "folder":  # see describe()
            values["dataset"] = record["data"]["name"]
        config = RunConfig.from_dict(values)
        table = pd.read_csv(io.BytesIO(history))
        return Run(config, table, record["ended"], record["data"], record["provenance"], path)
    except NewerFormat:
        raise
    except KeyError as error:
        raise ValueError(f"the record {path} cannot be used: it has no {error}") from error
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"the record {path} cannot be used: {error}") from error


def find(
    config: RunConfig, fingerprint: str, *, live: bool = False, folder: Path | None = None
) -> Run | None:
    """The record of `config` on that data, or None; `live` leaves out `data/runs`.

    `folder`: look there and not in the live store.

    A record that is damaged, or whose config is not the one asked for, is
    reported in a warning and never used. One from a newer version raises NewerFormat.
    """
    for store in [*([] if live else [RECORDED]), folder or live_store()]:
        path = store / (run_name(config, fingerprint) + ".json")
        if path.exists():
            try:
                run = load(path)
            except NewerFormat:
                raise
            except ValueError as error:
                warnings.warn(f"{error}; it is trained again", stacklevel=2)
                continue
            if describe(run.config) == describe(config):
                return run
            warnings.warn(f"the record {path} is of another config", stacklevel=2)
    return None


def recorded(
    config: RunConfig, *, other_data: bool = False, committed: bool = False
) -> Run | None:
    """The record of `config` on whatever data of that name it was made, or None.

    Needs no data here. An image folder is known by its last name, "folder:NAME". With
    `other_data`, the record of the same run on any other data. `committed`: only if it is in
    `data/runs`.
    """
    wanted, name = describe(config), config.source.name
    start = "*" if other_data else wanted["dataset"]
    pattern = f"{start}-{config.model}-{config.policy.name}-seed{config.seed}-*.json"
    for folder in [RECORDED] if committed else [RECORDED, live_store()]:
        for path in sorted(folder.glob(pattern)):
            with contextlib.suppress(ValueError):
                run = load(path)
                same = describe(run.config) | {"dataset": wanted["dataset"]} == wanted
                if same and (run.data["name"] == name) != other_data:
                    return run
    return None


def found(
    arms: Mapping[str, Sequence[RunConfig]], *, committed: bool = False
) -> dict[str, list[Run]]:
    """The recorded runs of an experiment, by arm; arms without any are left out."""
    runs = {
        arm: [run for c in each if (run := recorded(c, committed=committed))]
        for arm, each in arms.items()
    }
    return {arm: each for arm, each in runs.items() if each}


def load_or_train(
    config: RunConfig,
    *,
    data: Dataset | None = None,
    live: bool = False,
    device: str | None = None,
    progress: bool | None = None,
    checkpoint_seconds: float = 60.0,
    folder: Path | None = None,
    wait: bool = True,
) -> Run:
    """The finished run of `config`: its record, or an interrupted run continued, or trained.

    `data`: the data set, if it is loaded already. `live`: train here even if
    `data/runs` has the record. `device`: by default a GPU if there is one. `folder`: where
    the new record goes, by default the live store. A run that another process is training is
    waited for or, without `wait`, left to it (raises `clr.files.Claimed`).

    A continued run ends bit-identical to one that was never interrupted, on the
    same machine with as many threads. Raises OSError if the store cannot be
    written, whatever `clr.training.datasets.load` raises if there is no such data.
    """
    data = data or datasets.load(config.dataset)
    if run := find(config, data.fingerprint, live=live, folder=folder):
        return run
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    path = (folder or live_store()) / run_name(config, data.fingerprint)
    with files.claim(path, wait=wait):
        if run := find(config, data.fingerprint, live=live, folder=folder):
            return run  # trained while we waited
        return _train(config, data, device, path, progress, checkpoint_seconds)


def _train(config, data, device, path, progress, checkpoint_seconds) -> Run:
    checkpoint = path.with_name(path.name + ".checkpoint")
    training, before, start = Training(config, data, device), 0.0, time.monotonic()
    if content := files.read_sealed(checkpoint):
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        _check_format(state["format"], checkpoint)
        training.load_state_dict(state["training"])
        before = state["seconds"]

    def keep(state: dict):
        seconds = before + time.monotonic() - start
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "training": state, "seconds": seconds}, buffer)
        try:
            files.write_sealed(checkpoint, buffer.getvalue())
        except OSError as error:  # the run goes on, and the checkpoint before is still there
            warnings.warn(f"no checkpoint: {error}", stacklevel=2)

    try:
        training.run(progress=progress, checkpoint=keep, checkpoint_seconds=checkpoint_seconds)
    except KeyboardInterrupt as stop:
        print(f"{path.name}: {stop or 'stopped'}; the same command goes on from there")
        raise
    try:
        run = save(training, path.parent, before + time.monotonic() - start)
    except OSError:
        keep(training.state_dict())  # in case there is room for that: no step is lost
        raise
    files.remove_sealed(checkpoint)
    return run
