"""The notebooks, executed headless by papermill and written as web pages."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import psutil
import yaml

from clr.interrupts import tell
from clr.notebooks import parameters
from clr.paths import ROOT

NOTEBOOKS = ROOT / "notebooks"


class Failed(Exception):
    """A notebook that did not get done; the message is for the reader."""


def _notebooks(only: Sequence[str]) -> list[Path]:
    """The notebooks in order, or those whose names start with one of `only`."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if unknown := [o for o in only if not any(path.name.startswith(o) for path in found)]:
        names = ", ".join(path.stem for path in found)
        raise ValueError(f"--only {' '.join(unknown)}: no such notebook; there are {names}")
    return [p for p in found if not only or any(p.name.startswith(o) for o in only)]


def _parameters(notebook: Path, params: str, given: dict) -> dict:
    """The checked parameters of one notebook: its file in params/, then those given."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    kinds = parameters.declared(tagged[0].source)
    file = NOTEBOOKS / "params" / params / f"{notebook.stem}.yaml"
    values = parameters.from_file(file, kinds) if file.exists() else {}
    parameters.check(given, kinds, notebook.stem)
    return values | given


def _execute(notebook: Path, folder: Path, values: dict) -> Path:
    """Run one notebook; returns its path in `folder`, where it appears only when done."""
    import nbformat
    import papermill
    from traitlets.config import Config

    done, partial = folder / notebook.name, folder / f".{notebook.stem}.partial.ipynb"
    failed = folder / f"{notebook.stem}.failed.ipynb"
    for stale in (done, failed, done.with_suffix(".html")):
        stale.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="clr-") as sockets:
        # sockets in a folder of their own: no TCP port is opened, no two kernels meet
        kernel = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{sockets}/kernel"}
        try:
            papermill.execute_notebook(
                notebook,
                partial,
                parameters=values,
                progress_bar=False,
                config=Config({"KernelManager": kernel}),
            )
        except papermill.PapermillExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                partial.unlink()
                raise Failed("stopped") from None
            partial.replace(failed)
            said = f"cell [{error.exec_count}]: {error.ename}: {error.evalue}"
            raise Failed(f"{said}\n    {failed} shows how far it came") from None
    cells = nbformat.read(partial, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    if any(cell.execution_count is None for cell in code):  # papermill says "completed"
        partial.replace(failed)
        raise Failed("it ended before its last cell")
    partial.replace(done)
    return done


def run(
    params: str = "quick",
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    out: Path = ROOT / "results",
    given: Sequence[tuple[str, str]] = (),
) -> int:
    """Run the notebooks; 0 when all got done, 1 when one failed, 2 when nothing was run.

    `params` is a folder of notebooks/params; `only` holds the beginnings of the wanted
    notebooks' names (none: all of them); `jobs` run at a time; results go to a folder in `out`.
    `given` are parameters over those of the files: (name, value as YAML).
    """
    try:
        known = sorted(path.name for path in (NOTEBOOKS / "params").iterdir() if path.is_dir())
        if params not in known:
            raise ValueError(f"--params must be one of {', '.join(known)}; got {params}")
        values = {name: yaml.safe_load(value) for name, value in given}
        work = {n: _parameters(n, params, values) for n in _notebooks(only)}
        # changed parameters get a folder of their own, beside the one they differ from
        changes = "".join(f",{name}={value}" for name, value in given)
        folder = Path(out) / (params + re.sub(r"[^\w.,=+-]+", "_", changes))
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (ValueError, yaml.YAMLError) as error:
        print(f"clr run: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"clr run: cannot write results to {out}: {error.strerror}; "
            "--out names another folder",
            file=sys.stderr,
        )
        return 2
    from clr.notebooks import pages

    # each job its share of the cores; kernels inherit the environment
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    entries, failures, start = {}, 0, time.monotonic()

    def one(notebook: Path) -> tuple[str, float]:
        begun = time.monotonic()
        page = pages.write_notebook(_execute(notebook, folder, work[notebook]))
        return page, time.monotonic() - begun

    print(f"{len(work)} notebooks, parameters '{params}', {jobs} at a time", flush=True)
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {pool.submit(one, notebook): notebook for notebook in work}
        for count, future in enumerate(as_completed(futures), 1):
            name = futures[future].stem
            try:
                entries[name], seconds = future.result()
                outcome = f"done in {seconds:.0f} s"
            except Exception as error:
                message = (
                    f"{error}"
                    if isinstance(error, Failed)
                    else f"{type(error).__name__}: {error}"
                )
                message = re.sub(r"\x1b\[[0-9;]*m", "", message)
                entries[name], outcome = (
                    pages.failed(folder, name, message),
                    f"FAILED, {message}",
                )
                failures += 1
            print(f"[{count}/{len(work)}] {name}: {outcome}", flush=True)
    except KeyboardInterrupt:
        # the kernels are in sessions of their own, where Ctrl-C does not reach them
        tell(psutil.Process().children(), signal.SIGINT)
        pool.shutdown(cancel_futures=True)
        print("\nstopped; finished runs are kept, the same command goes on from there")
        return 130
    for earlier in folder.glob("[0-9][0-9]_*.ipynb"):  # done before, not asked for now
        if earlier.stem not in entries and not earlier.stem.endswith(".failed"):
            entries[earlier.stem] = pages.write_notebook(earlier)
    ordered = [entries[name] for name in sorted(entries)]
    index = pages.write_index(folder, f"Cyclical learning rates: {folder.name}", ordered)
    print(f"{index} written, {time.monotonic() - start:.0f} s in all")
    return 1 if failures else 0
