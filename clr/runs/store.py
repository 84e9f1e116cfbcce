"""The store: a run is trained once, recorded, and found again by its config and its data.

    store = Store.usual()
    run = store.train(config)  # from its record, or by finishing or training the run

A store writes new records into one folder, and finds the records of that folder and of others.
By default it writes to `data/cache/runs`, or to the folder that the environment's `CLR_RUNS`
names, and also finds the committed records in `data/runs`.
"""

from __future__ import annotations

import io
import json
import os
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from clr.paths import RECORDED, live_store
from clr.runs import files, form, locks, names, provenance, record
from clr.runs.form import NewerFormat
from clr.runs.record import Run
from clr.training import Dataset, RunConfig, Training, load

load_once = lru_cache(maxsize=1)(load)  # the next run most often has the same data set


@dataclass(frozen=True)
class Store:
    """A folder that records are written to, and others (`also`) in which they are found.

    The folders in `also` are looked in first.
    """

    folder: Path
    also: tuple[Path, ...] = ()
    _seen: dict[Path, dict] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def usual(cls) -> Store:
        """Finds committed and live records, and writes live ones."""
        return cls(live_store(), (RECORDED,))

    @classmethod
    def committed(cls) -> Store:
        """Finds and writes records in `data/runs`, which is committed."""
        return cls(RECORDED)

    @classmethod
    def live(cls) -> Store:
        """Finds and writes live records; runs whose records are committed are trained again."""
        return cls(live_store())

    def get(self, config: RunConfig, fingerprint: str) -> Run | None:
        """The record of `config` on the data with that fingerprint, or None.

        A record that is not whole, or is of another config than its name says, is reported in
        a warning and never used. One from a newer version raises NewerFormat.
        """
        for folder in (*self.also, self.folder):
            path = folder / (names.run_name(config, fingerprint) + ".json")
            if path.exists():
                try:
                    return record.load(path)
                except NewerFormat:
                    raise
                except ValueError as error:
                    warnings.warn(f"{error}; it is trained again", stacklevel=2)
        return None

    def search(
        self, config: RunConfig, *, other_data: bool = False, by_name: bool = False
    ) -> Run | None:
        """The record of `config` on a data set with the name in `config`, or None.

        The data need not be on this machine: an image folder is identified by the last part of
        its path. If the folder is on this machine, only a record made on exactly its images
        counts, unless `by_name`. With `other_data`, the record of the same run on a data set
        with another name. A record that is not whole is reported in a warning and left out.
        """
        source = config.source
        if source.kind == "folder" and not (other_data or by_name) and source.here():
            return self.get(config, load_once(config.dataset).fingerprint)
        for path in self._alike(config):
            try:
                run = record.load(path)
            except ValueError as error:
                warnings.warn(f"{error}; it is left out", stacklevel=2)
                continue
            if (run.config.source.name == source.name) != other_data:
                return run
        return None

    def data_names(self, configs: Iterable[RunConfig]) -> set[str]:
        """The names of all data sets on which there are records of these configs."""
        return {head["data"] for config in configs for head in self._alike(config).values()}

    def _alike(self, config: RunConfig) -> dict[Path, dict]:
        """The heads of the records of the same config on any data, by path.

        The JSON of each record is read only once; one that is not whole is reported each time.
        """
        wanted = _key(names.describe(config))
        found = {}
        part = f"-{config.model}-{config.policy.name}-seed{config.seed}-"
        for folder in (*self.also, self.folder):
            files_here = os.listdir(folder) if folder.is_dir() else []
            alike = [name for name in files_here if part in name and name.endswith(".json")]
            for path in (folder / name for name in sorted(alike)):
                if path not in self._seen:
                    try:
                        self._seen[path] = _head(path)
                    except (ValueError, OSError) as error:
                        said = f"the record {path} cannot be used: {error}; it is left out"
                        warnings.warn(said, stacklevel=3)
                        continue
                if self._seen[path]["key"] == wanted:
                    found[path] = self._seen[path]
        return found

    def train(
        self,
        config: RunConfig,
        *,
        data: Dataset | None = None,
        device: str | None = None,
        progress: bool | None = None,
        checkpoint_seconds: float = 60.0,
        wait: bool = True,
    ) -> Run:
        """The finished run of `config`: recorded, or continued if interrupted, or trained.

        `data`: the data set, if it is loaded already. `device`: by default a GPU if there is
        one. A run that another process is training is waited for or, without `wait`, left to
        it (raises `clr.runs.locks.Locked`).

        A continued run ends bit-identical to one that was never interrupted, for the same
        processor model, code and number of threads. Raises ValueError if `data` is another data
        set than that of `config` or if the checkpoint is of another run, OSError if the store
        cannot be written, and whatever `clr.training.load` raises if there is no such data.
        """
        data = data or load_once(config.dataset)
        if data.name != config.source.name:
            raise ValueError(
                f"data must be {config.source.name}, as in config; got {data.name}"
            )
        if run := self.get(config, data.fingerprint):
            return run
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        path = self.folder / names.run_name(config, data.fingerprint)
        with locks.lock(path, wait=wait):
            if run := self.get(config, data.fingerprint):
                return run  # trained while we waited
            return _train(Training(config, data, device), path, progress, checkpoint_seconds)


def _key(values: dict) -> str:
    """A config without its data set, as text."""
    return json.dumps(names.content(values) | {"dataset": None}, sort_keys=True)


def _head(path: Path) -> dict:
    """The key and the data's name of a record; ValueError or OSError if it cannot be used."""
    config, values = form.head(path.stem, path.read_bytes())
    return {"key": _key(names.describe(config)), "data": values["data"]["name"]}


def _train(training: Training, path: Path, progress: bool | None, every: float) -> Run:
    """Train to the end, from a checkpoint if there is one; save one every `every` seconds."""
    checkpoint = path.with_name(path.name + ".checkpoint")
    before, start = 0.0, time.monotonic()
    commits = [provenance.commit()]
    if content := files.read_sealed(checkpoint):
        state = torch.load(io.BytesIO(content), map_location=training.device, weights_only=True)
        try:
            form.check_format(state["format"])
        except NewerFormat as error:
            raise error.at(checkpoint) from None
        try:
            training.load_state_dict(state["training"])
        except ValueError as error:
            raise ValueError(f"{checkpoint} cannot be continued: {error}") from None
        before = state["seconds"]
        commits = [*dict.fromkeys([*state.get("commits", []), *commits])]

    def keep(state: dict):
        seconds = before + time.monotonic() - start
        buffer = io.BytesIO()
        values = {"format": form.FORMAT, "training": state, "seconds": seconds}
        torch.save(values | {"commits": commits}, buffer)
        try:
            files.write_sealed(checkpoint, buffer.getvalue())
        except OSError as error:  # the run goes on, and the checkpoint before is still there
            warnings.warn(f"no checkpoint: {error}", stacklevel=2)

    try:
        training.run(progress=progress, checkpoint=keep, checkpoint_seconds=every)
    except KeyboardInterrupt as stop:
        print(f"{path.name}: {stop or 'stopped'}; the same command goes on from there")
        raise
    try:
        seconds = before + time.monotonic() - start
        made_by = ", ".join(filter(None, commits)) or None
        run = record.save(training, path.parent, seconds, made_by)
    except OSError:
        keep(training.state_dict())  # if this can be written, no step is lost
        raise
    files.remove_sealed(checkpoint)
    return run
