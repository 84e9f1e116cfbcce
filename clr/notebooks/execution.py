"""The notebooks, executed headless by papermill and written as web pages."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from clr import checks
from clr.interrupts import noted
from clr.notebooks import parameters
from clr.paths import NOTEBOOKS, ROOT

GRACE = 2.5  # the seconds that a training has to save a checkpoint when the run is stopped


def _notebooks(only: Sequence[str]) -> list[Path]:
    """The notebooks in order, or those whose names start with one of `only`."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if unknown := [o for o in only if not any(path.name.startswith(o) for path in found)]:
        names = ", ".join(path.stem for path in found)
        raise ValueError(f"--only {' '.join(unknown)}: no such notebook; there are {names}")
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def _tasks(params: str, only: Sequence[str], given: Sequence[tuple[str, str]]) -> dict:
    """{notebook: its parameters}: those of its file in params/, and `given`.

    Raises ValueError if something that was asked for does not exist.
    """
    known = sorted(path.name for path in (NOTEBOOKS / "params").iterdir() if path.is_dir())
    checks.one_of("--params", params, known)
    changed = {name: yaml.safe_load(value) for name, value in given}
    tasks = {}
    for path in _notebooks(only):
        kinds = parameters.declared(path)
        file = NOTEBOOKS / "params" / params / f"{path.stem}.yaml"
        values = parameters.from_file(file, kinds) if file.exists() else {}
        parameters.check(changed, kinds, path.stem)
        tasks[path] = values | changed
    return tasks


def _results(out: Path, params: str, given: Sequence[tuple[str, str]]) -> Path:
    """Create the folder for the results; ValueError if it cannot be written.

    Changed parameters get a separate folder, with the changes in its name. A name that would be
    long, or that does not show all characters, ends with a hash of the changes.
    """
    changes = "".join(f",{name}={value}" for name, value in given)
    shown = re.sub(r"[^\w.,=+-]+", "_", changes)
    if shown != changes or len(shown) > 100:
        shown = f"{shown[:100]}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}"
    folder = Path(out) / (params + shown)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"cannot write results to {out}: {error.strerror}; give another folder with --out"
        ) from error
    return folder


def _execute(notebook: Path, values: dict, partial: Path) -> float:
    """Execute a notebook, which is saved as `partial` after each cell; returns the seconds."""
    import papermill
    from traitlets.config import Config

    from clr.notebooks.kernel import Kernel

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clr-") as sockets:
        # sockets in a separate folder: no TCP port is opened, and kernels share no socket
        kernel = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{sockets}/kernel"}
        executed = papermill.execute_notebook(
            notebook,
            partial,
            parameters=values,
            progress_bar={"desc": notebook.stem, "leave": False, "disable": None},
            kernel_manager_class=Kernel,
            shutdown_kernel="immediate",  # otherwise it may print that it was interrupted
            config=Config({"KernelManager": kernel}),
        )
    code = [c for c in executed.cells if c.cell_type == "code" and c.source.strip()]
    if any(cell.execution_count is None for cell in code):  # papermill reports no error
        raise RuntimeError("it ended before its last cell")
    return time.monotonic() - begun


def _message(error: BaseException) -> str:
    """Why a notebook failed."""
    from papermill import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return f"cell [{error.exec_count}]: {error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {error}"


def _keep(partial: Path, folder: Path, name: str, failed: bool) -> Path:
    """Rename what was executed of a notebook, which replaces the results of an earlier run."""
    kept = folder / (f"{name}.failed.ipynb" if failed else f"{name}.ipynb")
    for earlier in (f"{name}.ipynb", f"{name}.html", f"{name}.failed.ipynb"):
        (folder / earlier).unlink(missing_ok=True)
    return partial.replace(kept)


def _stop(futures: Iterable[Future]):
    """End all kernels, and return when none is left.

    The kernels are in sessions of their own, where Ctrl-C does not reach them. SIGINT would be
    lost while a kernel starts, SIGTERM ends it; and a training saves a checkpoint after either.
    What still runs after `GRACE` seconds, or at a second Ctrl-C, is killed.
    """
    told, deadline = set(), time.monotonic() + GRACE
    with noted() as again:
        while not all(future.done() for future in futures):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if again.came or time.monotonic() > deadline:
                        process.kill()
                    elif process not in told:  # a second signal would end the training at once
                        process.terminate()
                        told.add(process)
            time.sleep(0.1)


def _run_all(tasks: Mapping[Path, dict], folder: Path, jobs: int) -> int:
    """Run the notebooks, `jobs` at a time, and write the pages; returns how many failed.

    What ends it early (OSError if something cannot be written) ends all kernels.
    """
    from tqdm import tqdm

    failures, ended, records, pool = {}, 0, None, ThreadPoolExecutor(jobs)
    partial = {path.stem: folder / f".{path.stem}.partial.ipynb" for path in tasks}
    futures = {
        pool.submit(_execute, path, values, partial[path.stem]): path.stem
        for path, values in tasks.items()
    }
    running = set(futures)
    try:
        while running:
            # with a timeout, since Windows notes Ctrl-C only between two calls
            done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                name, error = futures[future], future.exception()
                if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                    raise error  # not a fault of this notebook
                # these take seconds, in which the kernels have started
                from clr.notebooks import pages
                from clr.papers.chapters import Records

                records = records or Records()  # read and judged once
                kept = _keep(partial[name], folder, name, failed=error is not None)
                if error:
                    failures[name] = _message(error)
                    said = f"FAILED, {failures[name]}\n    {kept} shows how far it came"
                else:
                    said = f"done in {future.result():.0f} s"
                pages.write(folder, failures, records)
                ended += 1
                with tqdm.external_write_mode():  # the bars are below
                    print(f"[{ended}/{len(tasks)}] {name}: {said}", flush=True)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _stop(futures)
        raise
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return len(failures)


def run(
    params: str = "quick",
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    out: Path = ROOT / "results",
    given: Sequence[tuple[str, str]] = (),
) -> int:
    """Run the notebooks; 0 when all were executed, 1 when one failed, 130 when stopped.

    `params` is a folder of notebooks/params; `only` holds the beginnings of the wanted
    notebooks' names (none: all of them); `jobs` run at a time; results go to a folder in `out`.
    `given` are parameters that replace those of the files: (name, value as YAML). Raises
    ValueError, and runs nothing, if something that was asked for does not exist, is not of its
    type, or if the results cannot be written.
    """
    try:
        tasks = _tasks(params, only, given)
    except yaml.YAMLError as error:
        raise ValueError(f"a parameter is not YAML: {error}") from error
    folder = _results(out, params, given)
    start = time.monotonic()
    print(f"{len(tasks)} notebooks, parameters '{params}', {jobs} at a time", flush=True)
    # each job gets its share of the cores; kernels inherit the environment
    may_use = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(may_use(0)) if may_use else os.cpu_count() or 1
    threads = max(1, cores // jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are raised, too
    try:
        failed = _run_all(tasks, folder, jobs)
        from clr.papers import runs_page

        runs_page.write(folder.parent / runs_page.PAGE)
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command goes on from there")
        return 130
    except OSError as error:
        where = f"results are written to {folder}; give another folder with --out"
        print(f"clr run: {error}; {where}", file=sys.stderr)
        return 1
    print(f"{folder / 'index.html'} written, {time.monotonic() - start:.0f} s in all")
    return 1 if failed else 0
