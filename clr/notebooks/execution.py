"""The notebooks, executed headless by papermill and written as web pages."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from clr.notebooks import parameters
from clr.notebooks.progress import Progress
from clr.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


class Failed(Exception):
    """A notebook that was not executed to its end; the message is for the reader."""


@dataclass(frozen=True)
class _Task:
    """A notebook, the parameters it gets, and the number of code cells it then executes."""

    notebook: Path
    values: dict
    cells: int


def _notebooks(only: Sequence[str]) -> list[Path]:
    """The notebooks in order, or those whose names start with one of `only`."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if unknown := [o for o in only if not any(path.name.startswith(o) for path in found)]:
        names = ", ".join(path.stem for path in found)
        raise ValueError(f"--only {' '.join(unknown)}: no such notebook; there are {names}")
    return [p for p in found if not only or any(p.name.startswith(o) for o in only)]


def _code_cells(notebook) -> list:
    """The cells of a notebook that are executed."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _task(path: Path, params: str, given: dict) -> _Task:
    """One notebook with checked parameters: those of its file in params/, and `given`."""
    import nbformat

    cells = _code_cells(nbformat.read(path, as_version=4))
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    kinds = parameters.declared(tagged[0].source)
    file = NOTEBOOKS / "params" / params / f"{path.stem}.yaml"
    values = parameters.from_file(file, kinds) if file.exists() else {}
    parameters.check(given, kinds, path.stem)
    values |= given
    return _Task(path, values, len(cells) + bool(values))  # papermill adds a cell for values


def _tasks(params: str, only: Sequence[str], given: Sequence[tuple[str, str]]) -> list[_Task]:
    """The notebooks to run; ValueError if something that was asked for does not exist."""
    known = sorted(path.name for path in (NOTEBOOKS / "params").iterdir() if path.is_dir())
    if params not in known:
        raise ValueError(f"--params must be one of {', '.join(known)}; got {params}")
    values = {name: yaml.safe_load(value) for name, value in given}
    return [_task(path, params, values) for path in _notebooks(only)]


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
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write results to {out}: {error.strerror}; give another folder with --out"
        ) from error
    return folder


def _execute(task: _Task, folder: Path, progress: Progress) -> Path:
    """Execute one notebook; returns its path in `folder`, where it appears only when done."""
    import nbformat
    import papermill
    from traitlets.config import Config

    name = task.notebook.stem
    done, partial = folder / f"{name}.ipynb", folder / f".{name}.partial.ipynb"
    failed = folder / f"{name}.failed.ipynb"
    for stale in (done, failed, done.with_suffix(".html")):
        stale.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="clr-") as sockets:
        # sockets in a separate folder: no TCP port is opened, and kernels share no socket
        kernel = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{sockets}/kernel"}
        try:
            papermill.execute_notebook(
                task.notebook,
                partial,
                parameters=task.values,
                progress_bar=False,  # our own bar shows all running notebooks
                on_cell_execute=lambda **_: progress.begin_cell(name),
                config=Config({"KernelManager": kernel}),
            )
        except papermill.PapermillExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                partial.unlink()
                raise Failed("stopped") from None
            partial.replace(failed)
            said = f"cell [{error.exec_count}]: {error.ename}: {error.evalue}"
            raise Failed(f"{said}\n    {failed} shows how far it came") from None
    executed = _code_cells(nbformat.read(partial, as_version=4))
    if any(cell.execution_count is None for cell in executed):  # papermill reports no error
        partial.replace(failed)
        raise Failed("it ended before its last cell")
    partial.replace(done)
    return done


def _page(task: _Task, folder: Path, progress: Progress) -> tuple[str, float]:
    """Execute one notebook and write its page; returns (its entry in the index, seconds)."""
    from clr.notebooks import pages

    begun = time.monotonic()
    executed = _execute(task, folder, progress)
    progress.begin_page(executed.stem)
    entry = pages.write_notebook(executed)
    return entry, time.monotonic() - begun


def _message(error: Exception) -> str:
    """An error as text, without the colours of a traceback."""
    text = f"{error}" if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _run_all(tasks: Sequence[_Task], folder: Path, jobs: int) -> tuple[dict[str, str], int]:
    """Run the notebooks, `jobs` at a time; KeyboardInterrupt stops the kernels.

    Returns ({name: its entry in the index}, how many failed).
    """
    from clr.notebooks import pages

    entries, failures, pool = {}, 0, ThreadPoolExecutor(jobs)
    with Progress({task.notebook.stem: task.cells for task in tasks}) as progress:
        futures = {
            pool.submit(_page, task, folder, progress): task.notebook.stem for task in tasks
        }
        running = set(futures)
        try:
            while running:
                ended, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ended:
                    name = futures[future]
                    try:
                        entries[name], seconds = future.result()
                        progress.end(name, f"done in {seconds:.0f} s")
                    except Exception as error:
                        entries[name] = pages.failed(folder, name, _message(error))
                        progress.end(name, f"FAILED, {_message(error)}")
                        failures += 1
                progress.draw()
        except KeyboardInterrupt:
            # the kernels are in sessions of their own, where Ctrl-C does not reach them
            for kernel in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):
                    kernel.send_signal(signal.SIGINT)
            pool.shutdown(cancel_futures=True)
            raise
    return entries, failures


def _write_index(folder: Path, entries: dict[str, str]) -> Path:
    """Write the page that links to these entries and to the notebooks that were run before."""
    from clr.notebooks import pages

    earlier = {
        path.stem: pages.write_notebook(path)
        for path in folder.glob("[0-9][0-9]_*.ipynb")
        if path.stem not in entries and not path.stem.endswith(".failed")
    }
    every = earlier | entries
    ordered = [every[name] for name in sorted(every)]
    return pages.write_index(folder, f"Cyclical learning rates: {folder.name}", ordered)


def run(
    params: str = "quick",
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    out: Path = ROOT / "results",
    given: Sequence[tuple[str, str]] = (),
) -> int:
    """Run the notebooks; 0 when all were executed, 1 when one failed, 2 when nothing was run.

    `params` is a folder of notebooks/params; `only` holds the beginnings of the wanted
    notebooks' names (none: all of them); `jobs` run at a time; results go to a folder in `out`.
    `given` are parameters that replace those of the files: (name, value as YAML).
    """
    try:
        tasks = _tasks(params, only, given)
        folder = _results(out, params, given)
    except (ValueError, yaml.YAMLError) as error:
        print(f"clr run: {error}", file=sys.stderr)
        return 2
    start = time.monotonic()
    print(f"{len(tasks)} notebooks, parameters '{params}', {jobs} at a time", flush=True)
    # each job gets its share of the cores; kernels inherit the environment
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        entries, failures = _run_all(tasks, folder, jobs)
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command goes on from there")
        return 130
    index = _write_index(folder, entries)
    print(f"{index} written, {time.monotonic() - start:.0f} s in all")
    return 1 if failures else 0
