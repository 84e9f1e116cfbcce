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

import hashlib
import io
import json
import os
import platform
import subprocess
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clr import data as datasets
from clr.data import ROOT, Dataset
from clr.training import RunConfig, Training

RECORDED = ROOT / "data" / "runs"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: what was asked, what came out, and where it was made."""

    config: RunConfig
    history: pd.DataFrame
    ended: str  # "finished" or "diverged at iteration N"
    provenance: dict
    path: Path

    @property
    def final_accuracy(self) -> float:
        """Test accuracy at the end, a fraction."""
        return float(self.history["test_accuracy"].iloc[-1])


def live_store() -> Path:
    """Where new records go: the environment's `CLR_RUNS`, else `data/cache/runs`."""
    return Path(os.environ.get("CLR_RUNS") or ROOT / "data" / "cache" / "runs").expanduser()


def describe(config: RunConfig) -> dict:
    """The config as it is hashed and recorded: an image folder without its path."""
    values = config.to_dict()
    if config.dataset.startswith("folder:"):
        values["dataset"] = "folder"
    return values


def run_name(config: RunConfig, fingerprint: str) -> str:
    """The record's file name, without suffix."""
    content = json.dumps([describe(config), fingerprint], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    values = describe(config)
    parts = [values["dataset"], config.model, config.policy.name, f"seed{config.seed}"]
    return "-".join([*parts, digest])


def _write(path: Path, content: bytes):
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass  # what is wrong with the folder is in the message already
        raise OSError(
            error.errno,
            f"could not write {path.name} to {path.parent}: {error.strerror}; "
            "nothing half-written was left. CLR_RUNS names another folder for runs",
        ) from error


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
    _write(path.with_suffix(".csv"), history)
    _write(path, (json.dumps(record, indent=1) + "\n").encode())
    return load(path)


def load(path: Path) -> Run:
    """Read a record; ValueError, naming the file, if it is damaged or from the future."""
    try:
        record = json.loads(path.read_text())
        history = path.with_suffix(".csv").read_bytes()
        if record["format"] > FORMAT:
            raise ValueError(f"format {record['format']}, this package reads up to {FORMAT}")
        if hashlib.sha256(history).hexdigest() != record["history_sha256"]:
            raise ValueError("its CSV does not have the recorded checksum")
        config = RunConfig.from_dict(record["config"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"the record {path} cannot be used: {error}") from error
    table = pd.read_csv(path.with_suffix(".csv"))
    return Run(config, table, record["ended"], record["provenance"], path)


def find(config: RunConfig, fingerprint: str, *, live: bool = False) -> Run | None:
    """The record of `config` on that data, or None; `live` leaves out `data/runs`.

    A record that is damaged, or whose config is not the one asked for, is
    reported in a warning and never used.
    """
    for folder in [live_store()] if live else [RECORDED, live_store()]:
        path = folder / (run_name(config, fingerprint) + ".json")
        if path.exists():
            try:
                run = load(path)
            except ValueError as error:
                warnings.warn(f"{error}; it is trained again", stacklevel=2)
                continue
            if describe(run.config) == describe(config):
                return run
            warnings.warn(f"the record {path} is of another config", stacklevel=2)
    return None


def load_or_train(
    config: RunConfig,
    *,
    data: Dataset | None = None,
    live: bool = False,
    device: str | None = None,
    progress: bool | None = None,
    checkpoint_seconds: float = 60.0,
) -> Run:
    """The finished run of `config`: its record, or an interrupted run continued, or trained.

    `data`: the data set, if it is loaded already. `live`: train here even if
    `data/runs` has the record. `device`: by default a GPU if there is one.
    A continued run ends bit-identical to one that was never interrupted, on the
    same machine with as many threads. Raises OSError if the store cannot be
    written, whatever `clr.data.load` raises if there is no such data.
    """
    data = data or datasets.load(config.dataset)
    if run := find(config, data.fingerprint, live=live):
        return run
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = live_store()
    checkpoint = folder / (run_name(config, data.fingerprint) + ".checkpoint")
    training = Training(config, data, device)
    before = 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        training.load_state_dict(state["training"])
        before = state["seconds"]
    start = time.monotonic()

    def keep(state: dict):
        seconds = before + time.monotonic() - start
        _save_checkpoint({"training": state, "seconds": seconds}, checkpoint)

    training.run(progress=progress, checkpoint=keep, checkpoint_seconds=checkpoint_seconds)
    run = save(training, folder, before + time.monotonic() - start)
    checkpoint.unlink(missing_ok=True)
    return run


def _save_checkpoint(state: dict, path: Path):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    _write(path, buffer.getvalue())
