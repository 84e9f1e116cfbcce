"""Many runs at once, on a `concurrent.futures.Executor`.

The default is a pool of processes on this machine; the executor of a `dask.distributed`
client does the same on a cluster. A worker that dies loses nothing: its run is continued
from its checkpoint by another.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path

import psutil
import torch

from clr import files, runs
from clr.experiments import Runs
from clr.interrupts import tell
from clr.runs import Run
from clr.tables import duration
from clr.training import RunConfig, datasets

_load = lru_cache(maxsize=1)(datasets.load)
_stopped = False  # in a worker: Ctrl-C has come, and what is still queued is not begun


def train(
    config: dict, folder: str, device: str | None, progress: bool | None, wait: bool
) -> tuple:
    """One run, in a worker: (final accuracy, how it ended, seconds). All plain values.

    Raises `clr.files.Claimed` if another process is at it, unless it is to `wait`.
    """
    global _stopped
    if _stopped:
        raise KeyboardInterrupt
    config = RunConfig.from_dict(config)
    try:
        run = runs.load_or_train(
            config,
            data=_load(config.dataset),
            device=device,
            folder=Path(folder),
            progress=progress,
            wait=wait,
        )
    except KeyboardInterrupt:
        _stopped = True
        raise
    return run.final_accuracy, run.ended, run.provenance["seconds"]


def _watch(parent: int):
    """End this worker, by way of a checkpoint, when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _start_worker(threads: int, parent: int):
    torch.set_num_threads(threads)
    if os.name != "nt":
        os.setsid()  # Ctrl-C goes to the parent alone, which hands it on once
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def pool(jobs: int) -> Executor:
    """`jobs` processes on this machine, each with OMP_NUM_THREADS threads or, without that,
    with its share of the cores that this process may use.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    threads = threads or max(1, torch.get_num_threads() // jobs)
    return ProcessPoolExecutor(
        jobs,
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(threads, os.getpid()),
    )


def dask(address: str) -> tuple[Callable[[], Executor], int]:
    """(makes executors on the workers of a dask scheduler at tcp://HOST:PORT, runs at a time).

    Raises ImportError without the `cluster` extra, ValueError if that is no address, OSError
    if nobody answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            "--scheduler needs the 'cluster' extra: pip install -e '.[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=10)
    except ValueError as error:
        raise ValueError(f"--scheduler must be tcp://HOST:PORT; got {address!r}") from error
    return lambda: client.get_executor(pure=False), sum(client.nthreads().values())


def run(
    configs: list[tuple[str, RunConfig]],
    make_executor: Callable[[], Executor],
    folder: Path,
    *,
    device: str | None = None,
    progress: bool | None = False,
    jobs: int = 1,
    attempts: int = 3,
) -> int:
    """Train the labelled configs, printing a line each; returns how many failed.

    When a worker's death breaks the executor, the unfinished runs go to a new one, at most
    `attempts` times. Runs that another sweep is at are left to it and waited for at the end.
    `jobs`, how many runs the executor does at a time, is for the estimate of what is left.
    KeyboardInterrupt lets the running ones save their state first.
    """
    left, failed = dict(enumerate(configs)), 0
    total = sum(config.iterations for _, config in configs)
    done, spent, begun = 0, 0.0, time.monotonic()
    for attempt in range(attempts):
        executor, died, futures = make_executor(), False, {}
        try:
            for number, (_, config) in left.items():
                task = config.to_dict(), str(folder), device, progress, attempt > 0
                futures[executor.submit(train, *task)] = number
            for future in as_completed(futures):
                number = futures[future]
                label, config = left[number]
                head = f"{label} seed {config.seed}"
                try:
                    accuracy, ended, seconds = future.result()
                except BrokenProcessPool:
                    died = True
                    continue  # stays in left
                except files.Claimed:
                    continue
                except Exception as error:
                    print(f"{head}: FAILED, {type(error).__name__}: {error}", flush=True)
                    failed += 1
                else:
                    done, spent = done + config.iterations, spent + seconds
                    elapsed = time.monotonic() - begun
                    rest = max(0, spent / done * total / min(jobs, len(configs)) - elapsed)
                    print(
                        f"[{len(configs) - len(left) + 1}/{len(configs)}] {head}: {ended}, "
                        f"{100 * accuracy:.1f} % in {duration(seconds)}; "
                        f"about {duration(rest)} left",
                        flush=True,
                    )
                del left[number]
        except KeyboardInterrupt:
            _stop(executor, futures)
            raise
        executor.shutdown()
        if not left:
            return failed
        if died:
            print(f"a worker died; {len(left)} runs go on from where they were", flush=True)
        else:
            print(f"{len(left)} runs are another process's; waiting for them", flush=True)
    print(f"gave up after {attempts} attempts", flush=True)
    return failed + len(left)


def table(experiment: Runs) -> list[tuple[str, RunConfig, Run | None]]:
    """Every run of an experiment and its record, if there is one.

    Of an image folder that is not here, a record on any folder of that name.
    """
    return [(label, c, _record(c)) for label, each in experiment.items() for c in each]


def _record(config: RunConfig) -> Run | None:
    if config.source.kind == "folder" and config.source.here():
        return runs.find(config, _load(config.dataset).fingerprint)
    return runs.recorded(config)


def _stop(executor: Executor, futures):
    """Let the running ones save their state; a second Ctrl-C kills them. No other is begun.

    What a cluster's worker is at goes on there.
    """
    for future in futures:
        future.cancel()
    ours = isinstance(executor, ProcessPoolExecutor)
    children = psutil.Process().children() if ours else []
    if os.name != "nt":  # there the console has told them
        tell(children, signal.SIGINT)
    try:
        executor.shutdown(wait=ours)
    except KeyboardInterrupt:
        tell(children, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        raise


def export(records: list[Run], file: Path):
    """Write records into one tar file, whole or not at all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for record in records:
            for path in (record.path, record.path.with_suffix(".csv")):
                tar.add(path, arcname=path.name)
    files.write(file, buffer.getvalue())


def import_(file: Path, folder: Path) -> tuple[int, int]:
    """Take the records of an exported file into `folder`; (new ones, ones that were there).

    Raises ValueError, having written nothing, if the file or a record in it is not whole, or
    a record of that name is there and differs.
    """
    try:
        with tarfile.open(file) as tar:
            members = {
                m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read as exported records: {error}") from error
    names = {name.rsplit(".", 1)[0] for name in members}
    for name in names:
        if not _whole(name, members):
            raise ValueError(f"{file}: the record {name} is not whole; nothing was imported")
        mine = folder / f"{name}.csv"
        if mine.exists() and mine.read_bytes() != members[f"{name}.csv"]:
            raise ValueError(
                f"{file}: another history of {name} is in {folder}; nothing was imported"
            )
    new = {name for name in names if not _readable(folder / f"{name}.json")}
    for name in sorted(new):
        for suffix in (".csv", ".json"):
            files.write(folder / f"{name}{suffix}", members[name + suffix])
    return len(new), len(names - new)


def _readable(path: Path) -> bool:
    try:
        return bool(runs.load(path))
    except runs.NewerFormat:
        raise
    except ValueError:
        return False


def _whole(name: str, members: dict[str, bytes]) -> bool:
    """Whether a record's two files are there, belong together, and have their own name."""
    if not {f"{name}.json", f"{name}.csv"} <= set(members) or Path(name).name != name:
        return False
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".csv", ".json"):
            (Path(folder) / f"{name}{suffix}").write_bytes(members[name + suffix])
        if not _readable(Path(folder) / f"{name}.json"):
            return False
        run = runs.load(Path(folder) / f"{name}.json")
    return runs.run_name(run.config, run.data["fingerprint"]) == name
