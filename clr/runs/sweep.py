"""Many runs at once, on a `concurrent.futures.Executor`.

The default is a pool of processes on this machine; the executor of a `dask.distributed`
client does the same on a cluster. If a worker dies, another one continues its run from the
checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import torch

from clr.printing import duration
from clr.runs import locks
from clr.runs.store import Store, load_once
from clr.training import RunConfig, Source

_stopped = False  # in a worker: after Ctrl-C, the runs that are still queued do not start


def train(
    config: dict, store: Store, device: str | None, progress: bool | None, wait: bool
) -> tuple[str, float]:
    """Train one run, in a worker; returns (its outcome as text, seconds), all plain values.

    Raises `clr.runs.locks.Locked` if another process trains the run, unless `wait` is True.
    """
    global _stopped
    if _stopped:
        raise KeyboardInterrupt
    asked = RunConfig.from_dict(config)
    try:
        run = store.train(
            asked, data=load_once(asked.dataset), device=device, progress=progress, wait=wait
        )
    except KeyboardInterrupt:
        _stopped = True
        raise
    said = run.outcome if run.diverged else f"finished, {run.outcome}"
    return said, run.provenance["seconds"]


def check(datasets: Collection[str], device: str | None):
    """Raise the error that would end every run on these data sets or on that device.

    ValueError if there is no such device or image folder, ConnectionError if a data set can be
    neither found nor downloaded. The error is then raised once, on the machine that trains the
    runs, and before the first one starts.
    """
    if device is not None and device != "cpu":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(device.partition(":")[2] or 0) >= found:
            gpus = f"cuda:0 to cuda:{found - 1}" if found else "none"
            raise ValueError(
                f"device must be cpu or a GPU that PyTorch finds here ({gpus}); got {device!r}"
            )
    for name in datasets:
        if not Source.parse(name).embedded:
            load_once(name)


def _watch(parent: int):
    """End this worker, after a checkpoint, when its parent process has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _start_worker(threads: int, parent: int):
    torch.set_num_threads(threads)
    if os.name != "nt":
        os.setsid()  # Ctrl-C goes only to the parent, which sends it on once
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def pool(jobs: int) -> Executor:
    """`jobs` processes on this machine.

    Each has OMP_NUM_THREADS threads (its first number) or, without that, its share of the cores
    that this process may use.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or 0)  # "4,2" is legal
    threads = threads or max(1, torch.get_num_threads() // jobs)
    return ProcessPoolExecutor(
        jobs,
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(threads, os.getpid()),
    )


def dask(address: str) -> tuple[Callable[[], Executor], int]:
    """(function that makes executors on a dask scheduler's workers, number of runs at a time).

    `address` is tcp://HOST:PORT. Raises ImportError without the `cluster` extra, ValueError if
    `address` is not an address, OSError if nothing answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            "--scheduler needs the 'cluster' extra: pip install -e '.[cluster]'"
        ) from None
    # checked here: a Client that fails to start can block the process when it is collected
    found = re.fullmatch(r"tcp://[^/\s]+:(\d{1,5})", address)
    if not found or int(found[1]) > 65535:
        raise ValueError(f"--scheduler must be tcp://HOST:PORT; got {address!r}")
    client = Client(address, timeout=10)
    return lambda: client.get_executor(pure=False), sum(client.nthreads().values())


class _Progress:
    """Prints a line per run that ends, with an estimate of the time that is left."""

    def __init__(self, configs: list[tuple[str, RunConfig]], jobs: int):
        self.runs, self.jobs = len(configs), min(jobs, len(configs))
        self.total = sum(config.iterations for _, config in configs)
        self.ended, self.failures, self.done = 0, 0, 0
        self.spent, self.begun = 0.0, time.monotonic()

    def failed(self, head: str, error: Exception):
        self.ended, self.failures = self.ended + 1, self.failures + 1
        print(f"{head}: FAILED, {type(error).__name__}: {error}", flush=True)

    def finished(self, head: str, config: RunConfig, result: tuple[str, float]):
        said, seconds = result
        self.ended += 1
        self.done, self.spent = self.done + config.iterations, self.spent + seconds
        whole = self.spent / self.done * self.total / self.jobs
        rest = max(0, whole - (time.monotonic() - self.begun))
        print(
            f"[{self.ended}/{self.runs}] {head}: {said} in {duration(seconds)}; "
            f"about {duration(rest)} left",
            flush=True,
        )


def run(
    configs: list[tuple[str, RunConfig]],
    make_executor: Callable[[], Executor],
    store: Store,
    *,
    device: str | None = None,
    progress: bool | None = False,
    jobs: int = 1,
    attempts: int = 3,
) -> int:
    """Train the labelled configs, printing a line per run; returns how many failed.

    If a worker dies and the executor breaks, a new executor gets the unfinished runs; there are
    at most `attempts` executors. Runs that another sweep is training are left to it, and waited
    for at the end. `jobs` is the number of runs that the executor trains at a time; it is used
    only to estimate the time left. At KeyboardInterrupt the running runs first save their
    state.
    """
    left, lines = dict(enumerate(configs)), _Progress(configs, jobs)
    store = Store(store.folder, store.also)  # without its cache: it is sent to the workers
    for attempt in range(attempts):
        executor, futures = make_executor(), {}
        try:
            broken = False
            for number, (_, config) in left.items():
                task = config.to_dict(), store, device, progress, attempt > 0
                try:
                    futures[executor.submit(train, *task)] = number
                except BrokenProcessPool:  # a worker died before all runs were handed out
                    broken = True
                    break
            died = _gather(futures, left, lines) or broken
        except KeyboardInterrupt:
            _stop(executor, futures)
            raise
        executor.shutdown()
        if not left:
            return lines.failures
        if died:
            print(
                f"a worker died; {len(left)} runs continue from their checkpoints", flush=True
            )
        else:
            print(f"another process trains {len(left)} runs; waiting for them", flush=True)
    print(f"gave up after {attempts} attempts", flush=True)
    return lines.failures + len(left)


def _gather(futures: dict, left: dict, lines: _Progress) -> bool:
    """Wait for all runs, remove the ended ones from `left`; returns whether a worker died."""
    died = False
    for future in as_completed(futures):
        label, config = left[futures[future]]
        head = f"{label} seed {config.seed}"
        try:
            lines.finished(head, config, future.result())
        except BrokenProcessPool:
            died = True
            continue
        except locks.Locked:
            continue
        except Exception as error:
            lines.failed(head, error)
        del left[futures[future]]
    return died


def _stop(executor: Executor, futures):
    """Let the running workers save their state, and start no other run.

    A second Ctrl-C kills the workers.

    Runs on the workers of a cluster go on there.
    """
    for future in futures:
        future.cancel()
    ours = isinstance(executor, ProcessPoolExecutor)
    children = multiprocessing.active_children() if ours else []
    if os.name != "nt":  # on Windows the console has sent it to them
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGINT)
    try:
        executor.shutdown(wait=ours)
    except KeyboardInterrupt:
        for child in children:
            child.kill()
        raise
