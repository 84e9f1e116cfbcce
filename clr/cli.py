"""The command line: `run` notebooks, `sweep` experiments, list `claims`, `bench` training."""

from __future__ import annotations

import argparse
import os
import re
import sys
from functools import partial
from pathlib import Path

from clr import checks, interrupts
from clr.paths import ROOT


def run(args: argparse.Namespace) -> int:
    """Run the notebooks; 0 when all got done, 1 when one failed, 2 when nothing was run."""
    from clr import notebooks

    return notebooks.run(args)


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
            arms = make(args.dataset or dataset, args.seeds)
            if args.arms:
                arms = {checks.one_of("--arms", arm, arms): arms[arm] for arm in args.arms}
            found = sweep.table(arms)
            rows += [(f"{name}: {label}", config, run) for label, config, run in found]
    except (ValueError, OSError) as error:
        print(f"clr sweep: {error}", file=sys.stderr)
        return 2
    for label, config, run in rows:
        other = runs.recorded(config, other_data=True) if run is None else None
        said = "not run" if run is None else f"recorded, {100 * run.final_accuracy:.1f} %"
        if other is not None:
            said += f" (on {other.data['name']}: {100 * other.final_accuracy:.1f} %)"
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
        make, jobs = partial(sweep.pool, args.jobs), args.jobs
        if args.scheduler:
            make, jobs = sweep.dask(args.scheduler)
        progress = None if args.jobs == 1 and not args.scheduler else False
        failed = sweep.run(
            missing, make, folder.resolve(), device=args.device, progress=progress, jobs=jobs
        )
    except (ImportError, ValueError, OSError) as error:
        print(f"clr sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from there")
        return 130
    return 1 if failed else 0


def claims(args: argparse.Namespace) -> int:
    """Print every claim and every published number beside our runs."""
    from clr import scoreboard

    if args.readme:
        from clr import readme

        readme.write()
        return 0
    if args.json:
        print(scoreboard.as_json())
        return 0
    print(scoreboard.as_markdown() if args.markdown else scoreboard.as_text())
    return 0


def bench(args: argparse.Namespace) -> int:
    """Measure the speed of training, beside a tutorial's loop and the machine's limit."""
    import importlib.util
    import itertools

    import torch

    from clr import bench, bench_gpu

    try:
        against = [
            checks.one_of("--against", n, bench.OTHERS) for n in args.against.split(",") if n
        ]
    except ValueError as error:
        print(f"clr bench: {error}", file=sys.stderr)
        return 2
    for name in [name for name in against if not importlib.util.find_spec(name)]:
        print(f"{name} is not installed and left out")
        against.remove(name)
    report = bench.report(against, rounds=args.rounds)
    if torch.cuda.is_available():
        report = itertools.chain(report, bench_gpu.report(args.rounds))
    for line in report:
        print(line, flush=True)
    return 0


def _jobs(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up; got {text!r}")
    return int(text)


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:N; got {text!r}")
    return text


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
            "help": "one of those that --list names, or all (the default)",
        },
        "--arms": {"nargs": "+", "metavar": "ARM", "help": "only these arms, in this order"},
        "--seeds": {"type": _jobs, "default": 5, "help": "runs of each arm (default 5)"},
        "--dataset": {"help": "other data than the experiment is meant for"},
        "--jobs": {"type": _jobs, "default": 1, "help": "runs at a time (default 1)"},
        "--device": {"type": _device, "help": "cpu or cuda (default: a GPU if there is one)"},
        "--scheduler": {"metavar": "tcp://HOST:PORT", "help": "a dask scheduler's workers"},
        "--record": {"action": "store_true", "help": "write to data/runs, to be committed"},
        "--list": {"action": "store_true", "help": "only say what there is"},
        "--export": {"metavar": "FILE", "help": "write the finished records into one file"},
        "--import": {"dest": "import_", "metavar": "FILE", "help": "take them from one"},
    }.items():
        command.add_argument(name, **values)
    command.set_defaults(do=sweep)
    command = commands.add_parser(
        "claims", help="the papers' claims beside our runs", description=claims.__doc__
    )
    formats = command.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="as JSON, numbers as numbers")
    formats.add_argument("--markdown", action="store_true", help="as tables in Markdown")
    formats.add_argument("--readme", action="store_true", help="bring README.md up to date")
    command.set_defaults(do=claims)
    command = commands.add_parser("bench", help="measure", description=bench.__doc__)
    command.add_argument("--against", default="", metavar="fastai,lightning", help="these too")
    command.add_argument(
        "--rounds", type=_jobs, default=7, help="alternating rounds (default 7)"
    )
    command.set_defaults(do=bench)
    args = parser.parse_args(argv)
    interrupts.take_sigterm_as_ctrl_c()
    try:
        return args.do(args)
    except BrokenPipeError:  # whoever read our output has had enough, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
