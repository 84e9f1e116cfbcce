"""The store: a run is trained once, recorded, and found again by its config and its data.

    store = Store.usual()
    run = store.train(config)  # from its record, or by finishing or training the run

A store writes new records into one folder, and finds the records of that folder and of others.
By default it writes to `data/cache/runs`, or to the folder that the environment's `CLR_RUNS`
names, and also finds the committed records in `data/runs`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from clr import files
from clr.interrupts import noted
from clr.paths import RECORDED, live_store
from clr.runs import provenance, record
from clr.runs.record import NewerFormat, Run
from clr.training import Dataset, RunConfig, Training, columns, load

CHECKPOINT_FORMAT = 1
LARGEST = 64 * 2**20  # bytes of an archive, when it is unpacked

load_once = lru_cache(maxsize=1)(load)  # the next run most often has the same data set


class Locked(Exception):
    """Another process is training the run."""


@dataclass(frozen=True)
class Store:
    """A folder that records are written to, and others (`also`) in which they are found.

    The folders in `also` are looked in first.
    """

    folder: Path
    also: tuple[Path, ...] = ()

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
        name = record.run_name(config, fingerprint)
        for folder in self._folders(config.model):
            path = folder / f"{name}.json"
            if path.exists():
                try:
                    return record.load(path)
                except NewerFormat:
                    raise
                except ValueError as error:
                    warnings.warn(f"{error}; it is trained again", stacklevel=2)
        return None

    def search(self, config: RunConfig) -> Run | None:
        """The record of `config` on a data set with the name in `config`, or None.

        The data need not be on this machine: an image folder is identified by the last part of
        its path. A record that is not whole is reported in a warning and left out.
        """
        return self.by_data(config).get(config.source.name)

    def by_data(self, config: RunConfig) -> dict[str, Run]:
        """The records of the same run on any data, by the names of the data sets."""
        values, found = record.recorded(config), {}
        shared = f"{config.model}-{config.policy.name}-seed{config.seed}"
        for folder in self._folders(config.model):
            names, data = _listed(folder, shared)
            for data_name, fingerprint in data:
                kind = data_name.partition(":")[0]
                name = record.hashed_name(values | {"dataset": kind}, fingerprint)
                if name in names and data_name not in found:
                    try:
                        found[data_name] = record.load(folder / f"{name}.json")
                    except ValueError as error:
                        warnings.warn(f"{error}; it is left out", stacklevel=2)
        return found

    def _folders(self, model: str) -> Iterator[Path]:
        """The folders of the records of a model on all data sets."""
        for folder in (*self.also, self.folder):
            if folder.is_dir():
                places = (f"{folder}/{name}/{model}" for name in sorted(os.listdir(folder)))
                yield from (Path(place) for place in places if os.path.isdir(place))

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
        it (raises `clr.runs.store.Locked`).

        A continued run ends bit-identical to one that was never interrupted, for the same
        processor model, code and number of threads. A checkpoint that is damaged or does not
        fit the run is named in a warning, and the run starts again from iteration 0. Raises
        ValueError if `data` is another data set than that of `config`, OSError if the store
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
        name = record.run_name(config, data.fingerprint)
        path = record.place(self.folder, data.name, config.model, name).with_suffix("")
        with _locked(path, wait):
            if run := self.get(config, data.fingerprint):
                return run  # trained while we waited
            training = Training(config, data, device)
            return self._train(training, path, progress, checkpoint_seconds)

    def _train(
        self, training: Training, path: Path, progress: bool | None, checkpoint_seconds: float
    ) -> Run:
        """Train to the end, from a checkpoint if there is one; save one now and then."""
        checkpoint, start = path.with_name(path.name + ".checkpoint"), time.monotonic()
        training, earlier, commits = _continued(training, checkpoint)
        commits = [*dict.fromkeys([*commits, provenance.commit()])]

        def save(state: dict):
            seconds = earlier + time.monotonic() - start
            values = {"format": CHECKPOINT_FORMAT, "training": state, "seconds": seconds}
            buffer = io.BytesIO()
            torch.save(values | {"commits": commits}, buffer)
            seal = hashlib.sha256(buffer.getvalue()).hexdigest().encode()
            try:
                files.write(checkpoint, seal + b"\n" + buffer.getvalue(), record.IN_RUNS)
            except OSError as error:  # the run goes on, and the checkpoint before is there
                warnings.warn(f"no checkpoint: {error}", stacklevel=2)

        try:
            training.run(
                progress=progress, checkpoint=save, checkpoint_seconds=checkpoint_seconds
            )
        except KeyboardInterrupt as stop:
            said = f"{path.name}: {stop or 'stopped'}; the same command goes on from there"
            print(said)
            raise KeyboardInterrupt(said) from None
        seconds = earlier + time.monotonic() - start
        made_by = ", ".join(filter(None, commits)) or None
        try:
            run = record.save(training, self.folder, seconds, made_by)
        except OSError:
            save(training.state_dict())  # if this can be written, no step is lost
            raise
        checkpoint.unlink(missing_ok=True)
        return run

    def add(self, source: Path) -> tuple[int, int]:
        """Add the records of an exported file, or of a folder; how many were (new, known).

        The records can have the form of two files, NAME.json and NAME.csv, that older versions
        wrote. A record in the store that is not whole counts as new and is replaced. Raises
        ValueError, and writes nothing, if `source` holds no record, is too large, if it or a
        record in it is not whole, or if the store holds another history of a record. Raises
        NewerFormat if a newer version wrote a record in `source` or in the store.
        """
        new, known = {}, 0
        for name, values in _records(source):
            data, model = values["data"]["name"], values["config"]["model"]
            path = record.place(self.folder, data, model, name)
            try:
                there = record.as_csv(record.load(path).history).splitlines()
            except NewerFormat:
                raise
            except ValueError:
                new[path] = record.as_json(values)
                continue
            if there != values["history"]:
                raise ValueError(
                    f"{source}: another history of {name} is in {self.folder}; nothing was "
                    "imported"
                )
            known += 1
        for path, content in new.items():
            files.write(path, content, record.IN_RUNS)
        return len(new), known


# --- finding -------------------------------------------------------------------


Listed = tuple[set[str], list[tuple[str, str]]]  # names of records; (name, fingerprint) of data


def _listed(folder: Path, shared: str) -> Listed:
    """The records in a folder that have this in their names, and the data that they are of."""
    changed, now = folder.stat().st_mtime_ns, time.time_ns()
    # a folder can change twice within a tick of its clock: a fresh time is no proof
    return _listed_at(folder, changed if now - changed > 3 * 10**9 else now, shared)


@cache  # a folder is listed once, until it changes
def _paths_at(folder: Path, changed: int) -> dict[str, list[Path]]:
    """The records in a folder, by what the names of records of the same run share."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.json")):
        found.setdefault(path.stem.partition("-")[2].rpartition("-")[0], []).append(path)
    return found


@cache
def _listed_at(folder: Path, changed: int, shared: str) -> Listed:
    found = {}
    for path in _paths_at(folder, changed).get(shared, ()):
        try:
            found[path.stem] = record.data_of(path)
        except ValueError as error:
            warnings.warn(f"{error}; it is left out", stacklevel=2)
    return set(found), [*dict.fromkeys(found.values())]


# --- training ------------------------------------------------------------------


@contextmanager
def _locked(path: Path, wait: bool):
    """Keep other processes away from a run; the system frees the lock when a process ends.

    Waits for a lock that another process holds or, without `wait`, raises Locked. Raises
    OSError if the folder cannot be written. Removes the temporary files that a process left
    when it was killed while it wrote.
    """
    file = path.with_name(f".{path.name}.lock")
    held = FileLock(file)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _take(held)
        except OSError as error:
            raise files.not_written(file, error, record.IN_RUNS) from error
        if not held.is_locked:
            if not wait:
                raise Locked(f"another process is training {path.name}")
            print(f"another process is training {path.name}; waiting for it")
        while not held.is_locked:
            time.sleep(0.05)
            _take(held)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            left.unlink(missing_ok=True)
        yield
    finally:
        if held.is_locked:
            # it can be removed while it is held: a waiting process looks for the record next
            with suppress(OSError):  # on Windows an open file cannot be removed; release does
                file.unlink()
            held.release()


def _take(lock: FileLock):
    """Take a lock if it is free; SIGINT and SIGTERM are raised when that has been decided."""
    with noted() as signals, suppress(Timeout):
        lock.acquire(timeout=0)
    if signals.came:
        raise KeyboardInterrupt


def _continued(training: Training, checkpoint: Path) -> tuple[Training, float, list]:
    """The training as its checkpoint left it, with its seconds so far and its commits.

    Without one, or if it is damaged or does not fit, a training at iteration 0.
    """
    if not checkpoint.exists():
        return training, 0.0, []
    try:
        seal, _, content = checkpoint.read_bytes().partition(b"\n")
        if seal != hashlib.sha256(content).hexdigest().encode():
            raise ValueError("it is damaged")
        saved = torch.load(io.BytesIO(content), map_location=training.device, weights_only=True)
        record.check_format(saved["format"], CHECKPOINT_FORMAT)
        training.load_state_dict(saved["training"])
        _check_fit(training)
        return training, float(saved["seconds"]), list(saved["commits"])
    except NewerFormat as error:
        raise NewerFormat(f"{checkpoint} {error}; {record.UPDATE}") from None
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # PyTorch raises many kinds for a state that does not fit
        warnings.warn(
            f"{checkpoint} cannot be continued: {error}; the run starts again from the start",
            stacklevel=2,
        )
        return Training(training.config, training.data, str(training.device)), 0.0, []


def _check_fit(training: Training):
    """ValueError unless what a training holds is that of the iteration that it is at."""
    config, at = training.config, training.iteration
    at_end = at == config.iterations
    last = at if at_end else at - at % config.test_every
    if (
        training.ended == (None if at_end else "finished")
        or [row[0] for row in training.rows] != record.tested(config, last)
        or {len(row) for row in training.rows} != {len(columns(config))}
        or (len(training.losses), training.scheduler.last_epoch) != (at - last, at)
    ):
        raise ValueError(f"its state does not fit iteration {at} of {config.iterations}")


# --- moving records --------------------------------------------------------------


def export(runs: Sequence[Run], file: Path):
    """Write the records of `runs` into one archive, whole or not at all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for run in runs:
            content, info = run.path.read_bytes(), tarfile.TarInfo(run.path.name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    files.write(file, buffer.getvalue())


def _records(source: Path) -> Iterator[tuple[str, dict]]:
    """The names and values of the records in a folder or an exported file."""
    found: dict[str, bytes] = {}
    try:
        for file, content in _in_folder(source) if source.is_dir() else _in_archive(source):
            if found.setdefault(file, content) != content:
                raise ValueError(f"it holds two different files {file}")
    except (ValueError, OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ValueError(
            f"{source} cannot be read as exported records; nothing was imported: {error}"
        ) from error
    if not found:
        raise ValueError(f"{source} holds no records; nothing was imported")
    for name in sorted({file.rpartition(".")[0] for file in found}):
        what, problem = f"{source}: the record {name!r}", "is not whole; nothing was imported"
        with record.named(what, problem, "nothing was imported. Update the package"):
            if Path(name).name != name:
                raise ValueError("its name must hold no path")
            values = record.parse(found[f"{name}.json"])
            if values["format"] == 1:
                history = found[f"{name}.csv"].decode().splitlines()
                values |= {"format": record.FORMAT, "history": history}
            record.check(name, values)
        yield name, values


def _in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the record files below a folder."""
    for path in sorted(folder.rglob("*.json")):
        yield path.name, record.read(path)
        if path.with_suffix(".csv").exists():  # as older versions wrote it
            yield path.with_suffix(".csv").name, record.read(path.with_suffix(".csv"))


def _in_archive(file: Path) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the files in a tar archive that gzip has compressed.

    `tarfile` itself reserves the memory that a member asks for, and never ends with some
    archives. So the archive is unpacked here, up to `LARGEST` bytes, and read header by header.
    """
    if not file.is_file():
        raise ValueError("it is neither a file nor a folder")
    with gzip.open(file) as packed:
        content = packed.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"unpacked, it has more than {LARGEST:,} bytes")
    start = 0
    while any(header := content[start : start + tarfile.BLOCKSIZE]):
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        start += tarfile.BLOCKSIZE
        if not 0 <= info.size <= len(content) - start:
            raise ValueError(f"{info.name} has {info.size:,} bytes, more than there are")
        if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield info.name, content[start : start + info.size]
        elif info.type not in (tarfile.XHDTYPE, tarfile.XGLTYPE):  # times, owners
            raise ValueError(f"{info.name} is not a file")
        start += -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
