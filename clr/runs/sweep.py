"""Many runs at once: every worker goes over the same list, and the store says what is left.

A worker trains each run of the list that is neither recorded nor locked by another worker. If a
worker dies, the system frees its lock, and another worker continues the run from its
checkpoint. Two sweeps on one store share their work in the same way.
"""

from __future__ import annotations

import _thread
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, suppress

import torch

from clr import checks
from clr.paths import ROOT
from clr.printing import duration
from clr.runs.store import Locked, Store, load_once
from clr.training import RunConfig

PATIENCE = 60  # seconds that a worker has to save its run before it is ended

Outcomes = Iterator[tuple[int, dict]]  # a run's place in the list, and how it ended


def run(
    configs: Sequence[tuple[str, RunConfig]],
    store: Store,
    *,
    device: str | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
) -> int:
    """Train the labelled configs, printing a line per run; returns how many failed.

    One run at a time is trained in this process. For more at a time, `jobs` workers are
    started, or the workers of a dask scheduler are used, whose address is `scheduler`. At
    KeyboardInterrupt the workers first save their runs (on a cluster they finish them); a
    second one kills them. Raises what `require` raises and, with a scheduler, ImportError
    without the `cluster` extra, ValueError for a bad address, OSError if nothing answers there
    or if the scheduler goes away.
    """
    todo = [config for _, config in configs]
    datasets = sorted({config.dataset for config in todo})
    if scheduler:
        client = _connect(scheduler)
        jobs = min(sum(client.nthreads().values()), len(configs))
        outcomes = _on_dask(client, datasets, todo, store, device)
    else:
        require(datasets, device)
        jobs = min(jobs, len(configs))
        if jobs == 1:
            outcomes = work(todo, store, device, progress=None)
        else:
            outcomes = _in_processes(jobs, todo, store, device)
    with closing(outcomes):
        return _report(configs, outcomes, jobs)


def require(datasets: Collection[str], device: str | None):
    """Raise the error that would end every run on these data sets or on that device.

    ValueError if there is no such device or image folder or if a data set is too small,
    ConnectionError if one can be neither found nor downloaded, ImportError without the package
    of a text. The error is then raised once, on the machine that trains the runs, and before
    the first one starts.
    """
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    checks.one_of("device", device or "cpu", devices)
    for name in datasets:
        load_once(name)


def attempt(
    config: RunConfig, store: Store, device: str | None, progress: bool | None, wait: bool
) -> dict | None:
    """Train a run and say how it ended, in plain values; None if another worker trains it.

    With `wait`, a run that another worker trains is waited for.
    """
    try:
        run = store.train(config, device=device, progress=progress, wait=wait)
    except Locked:
        return None
    except Exception as error:
        return _failed(error)
    said = run.outcome if run.diverged else f"finished, {run.outcome}"
    return {"said": said, "seconds": run.provenance["seconds"]}


def _failed(error: Exception) -> dict:
    return {"failed": f"{type(error).__name__}: {error}"[:500]}


def work(
    configs: Sequence[RunConfig], store: Store, device: str | None, progress: bool | None
) -> Outcomes:
    """Train what nobody else trains, again and again; at the end, wait for the others."""

    def tried(left: dict[int, RunConfig], wait: bool):
        for number, config in left.items():
            outcome = attempt(config, store, device, progress, wait)
            yield number, outcome
            wait = wait and outcome is None

    return _rounds(configs, tried)


def _rounds(configs: Sequence[RunConfig], tried: Callable) -> Outcomes:
    """Try the runs that are left until none is; wait for others once nothing else is left.

    `tried` gets the runs by their number and whether to wait for those that another worker
    trains. It gives the number of each and its outcome, None if another worker trains it.
    """
    left, wait = dict(enumerate(configs)), False
    while left:
        before = len(left)
        for number, outcome in tried(dict(left), wait):
            if outcome is not None:
                del left[number]
                yield number, outcome
        wait = len(left) == before


# --- workers on this machine ---------------------------------------------------


def threads(jobs: int) -> int:
    """The threads of each of several workers.

    OMP_NUM_THREADS (its first number) or, without that, the worker's share of the cores that
    this process may use.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # "4,2" is legal
    return int(said or 0) or max(1, torch.get_num_threads() // jobs)


def _in_processes(
    jobs: int, configs: Sequence[RunConfig], store: Store, device: str | None
) -> Outcomes:
    """`work` in several processes of this machine.

    They write their outcomes to one pipe, and their standard input is closed to stop them. The
    system closes it, too, when this process is killed.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"OMP_NUM_THREADS": str(threads(jobs)), "PYTHONPATH": path}
    reading, writing = os.pipe()
    workers: list[subprocess.Popen] = []
    try:
        for _ in range(jobs):
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-c", "from clr.runs import sweep; sweep.worker()"],
                    stdin=subprocess.PIPE,
                    stdout=writing,
                    env=os.environ | environment,
                    # Ctrl-C goes to this process alone
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
            )
        os.close(writing)
        for each in workers:
            with suppress(BrokenPipeError):  # it has died
                pickle.dump((configs, store, device), each.stdin)
                each.stdin.flush()
        alive = list(workers)
        with open(reading, "rb") as outcomes:
            for line in outcomes:  # until the last worker has ended
                yield tuple(json.loads(line))
                for dead in [each for each in alive if each.poll()]:
                    print("a worker died; the others continue its run", flush=True)
                    alive.remove(dead)
    finally:
        _stop(workers)


def _stop(workers: Sequence[subprocess.Popen]):
    """Let the workers save their runs and end; at KeyboardInterrupt, kill them."""
    try:
        for each in workers:
            with suppress(BrokenPipeError):
                each.stdin.close()
        for each in workers:
            each.wait()
    except KeyboardInterrupt:
        for each in workers:
            each.kill()
        raise


def worker():
    """What a process does that `run` has started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored in a script
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a training prints
    with suppress(KeyboardInterrupt, BrokenPipeError, EOFError):  # it is to stop
        configs, store, device = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_stop_when_input_ends, daemon=True).start()
        for outcome in work(configs, store, device, progress=False):
            os.write(outcomes, json.dumps(outcome).encode() + b"\n")


def _stop_when_input_ends():
    """Interrupt the main thread when standard input is closed; end the process soon after."""
    os.read(0, 1)
    _thread.interrupt_main()
    time.sleep(PATIENCE)
    os._exit(1)


# --- workers on a cluster ------------------------------------------------------


def _connect(address: str):
    """A client of the dask scheduler at tcp://HOST:PORT."""
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
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # `run` says it once
    return Client(address, timeout=10)


def _on_dask(client, datasets, configs, store: Store, device: str | None) -> Outcomes:
    """Each run as a task of dask; those that another sweep trains are waited for at the end."""
    from distributed import KilledWorker, as_completed
    from distributed.comm import CommClosedError

    def tried(left: dict[int, RunConfig], wait: bool):
        tasks = {
            client.submit(attempt, each, store, device, False, wait, pure=False): number
            for number, each in left.items()
        }
        for task in as_completed(tasks):
            try:
                yield tasks[task], task.result()
            except KilledWorker as error:  # several workers have died of it
                yield tasks[task], _failed(error)

    with client:
        try:
            client.submit(require, datasets, device, pure=False).result()
            yield from _rounds(configs, tried)
        except (CancelledError, CommClosedError):
            raise ConnectionError(
                f"the dask scheduler at {client.scheduler.address} is gone; the same command "
                "goes on from there"
            ) from None


# --- what is printed -----------------------------------------------------------


def _report(
    configs: Sequence[tuple[str, RunConfig]], outcomes: Iterable[tuple[int, dict]], jobs: int
) -> int:
    """Print a line per run that ends, with an estimate of the time that is left.

    Returns how many runs failed or, because all workers died, did not end.
    """
    total, begun = sum(config.iterations for _, config in configs), time.monotonic()
    ended: dict[int, dict] = {}
    done, spent = 0, 0.0
    for number, outcome in outcomes:
        label, config = configs[number]
        who = f"{label} seed {config.seed}"
        if "said" in ended.get(number, {}) or (number in ended and "failed" in outcome):
            continue  # another worker has said it
        ended[number] = outcome
        if "failed" in outcome:
            print(f"{who}: FAILED, {outcome['failed']}", flush=True)
            continue
        seconds = outcome["seconds"]
        done, spent = done + config.iterations, spent + seconds
        rest = max(0, spent / done * total / jobs - (time.monotonic() - begun))
        print(
            f"[{len(ended)}/{len(configs)}] {who}: {outcome['said']} in {duration(seconds)}; "
            f"about {duration(rest)} left",
            flush=True,
        )
    if left := len(configs) - len(ended):
        print(f"all workers died; {left} runs are left", flush=True)
    return left + sum("failed" in outcome for outcome in ended.values())
