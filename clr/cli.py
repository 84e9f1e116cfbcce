"""The command line: `run` executes the notebooks headless, `sweep` trains experiments."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import psutil
import yaml

from clr import checks, parameters
from clr.data import ROOT

NOTEBOOKS = ROOT / "notebooks"


class Failed(Exception):
    """A notebook that did not get done; the message is for the reader."""


def _notebooks(only: list[str]) -> list[Path]:
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


def run(args: argparse.Namespace) -> int:
    """Run the notebooks; 0 when all got done, 1 when one failed, 2 when nothing was run."""
    try:
        known = sorted(path.name for path in (NOTEBOOKS / "params").iterdir() if path.is_dir())
        if args.params not in known:
            raise ValueError(f"--params must be one of {', '.join(known)}; got {args.params}")
        given = {name: yaml.safe_load(value) for name, value in args.parameter}
        work = {n: _parameters(n, args.params, given) for n in _notebooks(args.only)}
        # changed parameters get a folder of their own, beside the one they differ from
        changes = "".join(f",{name}={value}" for name, value in args.parameter)
        folder = Path(args.out) / (args.params + re.sub(r"[^\w.,=+-]+", "_", changes))
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (ValueError, yaml.YAMLError) as error:
        print(f"clr run: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"clr run: cannot write results to {args.out}: {error.strerror}; "
            "--out names another folder",
            file=sys.stderr,
        )
        return 2
    from clr import pages

    # each job its share of the cores; kernels inherit the environment
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    entries, failures, start = {}, 0, time.monotonic()

    def one(notebook: Path) -> tuple[str, float]:
        begun = time.monotonic()
        page = pages.write_notebook(_execute(notebook, folder, work[notebook]))
        return page, time.monotonic() - begun

    print(
        f"{len(work)} notebooks, parameters '{args.params}', {args.jobs} at a time", flush=True
    )
    pool = ThreadPoolExecutor(args.jobs)
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
        for kernel in psutil.Process().children():
            kernel.send_signal(signal.SIGINT)
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


def sweep(args: argparse.Namespace) -> int:
    """Train the runs of an experiment that are not recorded yet, and say what there is."""
    from clr import runs, sweep
    from clr.experiments import EXPERIMENTS

    folder = runs.RECORDED if args.record else runs.live_store()
    try:
        if args.import_:
            new, old = sweep.import_(Path(args.import_), folder)
            print(f"{new} records imported to {folder}, {old} were there")
            return 0
        names = list(EXPERIMENTS) if args.experiment == "all" else [args.experiment]
        rows = []
        for name in names:
            make, dataset = EXPERIMENTS[checks.one_of("--experiment", name, EXPERIMENTS)]
            found = sweep.table(make(args.dataset or dataset, args.seeds))
            rows += [(f"{name}: {label}", config, run) for label, config, run in found]
    except (ValueError, OSError) as error:
        print(f"clr sweep: {error}", file=sys.stderr)
        return 2
    for label, config, run in rows:
        said = "not run" if run is None else f"recorded, {100 * run.final_accuracy:.1f} %"
        if run is not None and run.ended != "finished":
            said = f"recorded, {run.ended}"
        where = f"on {config.dataset}, {config.iterations:,} iterations"
        print(f"{label} seed {config.seed} {where}: {said}")
    missing = [(label, config) for label, config, run in rows if run is None]
    print(f"{len(rows) - len(missing)} of {len(rows)} runs recorded", flush=True)
    try:
        if args.export:
            sweep.export([run for *_, run in rows if run], Path(args.export))
            print(f"exported to {args.export}")
        if args.list or args.export or not missing:
            return 0
        make = partial(sweep.pool, args.jobs)
        if args.scheduler:
            make = sweep.dask(args.scheduler)
        progress = None if args.jobs == 1 and not args.scheduler else False
        failed = sweep.run(
            missing, make, folder.resolve(), device=args.device, progress=progress
        )
    except (ImportError, OSError) as error:
        print(f"clr sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from there")
        return 130
    return 1 if failed else 0


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up; got {text!r}")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m clr", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser(
        "run", help="run the notebooks headless", description=run.__doc__
    )
    command.add_argument(
        "--params",
        default="quick",
        help="a folder of notebooks/params: quick (default), laptop or paper",
    )
    command.add_argument(
        "--only", nargs="+", default=[], metavar="01", help="only these notebooks"
    )
    command.add_argument(
        "--jobs", type=_jobs, default=1, metavar="N", help="this many at a time (default 1)"
    )
    command.add_argument(
        "--out",
        default=str(ROOT / "results"),
        metavar="DIR",
        help="where results/<params> goes (default results/)",
    )
    command.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a notebook parameter, over the file's",
    )
    command.set_defaults(do=run)
    command = commands.add_parser(
        "sweep", help="train the runs of an experiment", description=sweep.__doc__
    )
    for name, values in {
        "--experiment": {
            "default": "all",
            "help": "table1, superconvergence, rehearsal or all",
        },
        "--seeds": {"type": _jobs, "default": 5, "help": "runs of each arm (default 5)"},
        "--dataset": {"help": "other data than the experiment is meant for"},
        "--jobs": {"type": _jobs, "default": 1, "help": "runs at a time (default 1)"},
        "--device": {"help": "cpu or cuda (default: a GPU if there is one)"},
        "--scheduler": {"metavar": "tcp://HOST:PORT", "help": "a dask scheduler's workers"},
        "--record": {"action": "store_true", "help": "write to data/runs, to be committed"},
        "--list": {"action": "store_true", "help": "only say what there is"},
        "--export": {"metavar": "FILE", "help": "write the finished records into one file"},
        "--import": {"dest": "import_", "metavar": "FILE", "help": "take them from one"},
    }.items():
        command.add_argument(name, **values)
    command.set_defaults(do=sweep)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    return args.do(args)
