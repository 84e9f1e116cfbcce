"""The command line: `run` notebooks, `sweep` experiments, list `claims`, `bench` training."""

from __future__ import annotations

import argparse
import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clr import checks
from clr.paths import ROOT

SEVERAL = {"action": "extend", "nargs": "+", "default": []}  # as in `--only 03 01`


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; it sets `command` to the function to call."""
    top = argparse.ArgumentParser("python -m clr", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(title="commands", required=True)
    _run_options(_command(commands, run).add_argument)
    _sweep_options(_command(commands, sweep).add_argument)
    _claims_options(_command(commands, claims).add_mutually_exclusive_group().add_argument)
    _bench_options(_command(commands, bench).add_argument)
    return top


def _command(commands, function: Callable) -> argparse.ArgumentParser:
    """The parser of one command, which has the name and the docstring of its function."""
    text = inspect.getdoc(function)
    added = commands.add_parser(
        function.__name__,
        help=text.splitlines()[0],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    added.set_defaults(command=function)
    return added


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; got {text!r}")
    return int(text)


def run(asked: argparse.Namespace) -> int:
    """Run the notebooks and write their pages to results/.

    A notebook's parameters are listed in its first code cell, with their types and defaults;
    the files in notebooks/params/ hold other values for them, and -p changes one.

    The exit status is 0 when all were executed, 1 when one failed, 2 when nothing was run.

    Example:
      python -m clr run --only 03 -p dataset digits -p iterations 500
    """
    from clr.notebooks import execution

    return execution.run(
        asked.params, only=asked.only, jobs=asked.jobs, out=asked.out, given=asked.parameter
    )


def _run_options(add: Callable):
    add(
        "--params",
        default="quick",
        metavar="NAME",
        help="a folder in notebooks/params: quick (default), laptop or paper",
    )
    add("--only", **SEVERAL, metavar="01", help="only these notebooks")
    add("--jobs", type=_count, default=1, metavar="N", help="notebooks at a time (default 1)")
    add(
        "--out",
        type=Path,
        default=ROOT / "results",
        metavar="DIR",
        help="the folder in which <params>/ is written (default results/)",
    )
    add(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a notebook parameter, instead of the value in the file of parameters",
    )


def sweep(asked: argparse.Namespace) -> int:
    """List the runs of all experiments, and train those that are not recorded yet.

    Example:
      python -m clr sweep --experiment table1 --arms fixed triangular2 --seeds 3
    """
    from clr.runs import Store, export
    from clr.runs import sweep as sweeps

    store = Store.committed() if asked.record else Store.usual()
    if asked.import_file:
        new, old = store.add(asked.import_file)
        print(f"{new} records imported to {store.folder}, {old} were already there")
        return 0
    recorded, missing = [], []
    chosen = _chosen(asked)
    for label, config in chosen:
        found = store.by_data(config)
        if run := found.get(config.source.name):
            recorded.append(run)
            said = f"recorded, {run.outcome}"
        else:
            missing.append((label, config))
            others = [f" (on {data}: {other.outcome})" for data, other in found.items()]
            said = "not run" + "".join(others[:1])
        length = f"{config.iterations:,} iterations"
        print(f"{label} seed {config.seed} on {config.dataset}, {length}: {said}")
    print(f"{len(recorded)} of {len(chosen)} runs recorded", flush=True)
    if asked.export:
        if not recorded:
            raise ValueError("--export needs at least one recorded run; none is recorded")
        export(recorded, asked.export)
        print(f"exported to {asked.export}")
    if asked.list or asked.export or not missing:
        return 0
    try:
        failed = sweeps.run(
            missing, store, device=asked.device, jobs=asked.jobs, scheduler=asked.scheduler
        )
        return 1 if failed else 0
    except KeyboardInterrupt as stop:
        if not stop.args:  # else the run that was stopped has said it
            print("stopped; the same command goes on from there")
        return 130


def _sweep_options(add: Callable):
    add("--experiment", **SEVERAL, metavar="NAME", help="only these of those that --list shows")
    add("--arms", **SEVERAL, metavar="ARM", help="only these arms, in this order")
    add("--seeds", type=_count, metavar="N", help="runs per arm (default: as many as planned)")
    add("--dataset", metavar="NAME", help="another data set than the experiment's own")
    add("--jobs", type=_count, default=1, metavar="N", help="runs at a time (default 1)")
    add("--device", help="cpu or cuda (default: a GPU if there is one)")
    add("--scheduler", metavar="tcp://HOST:PORT", help="train on a dask scheduler's workers")
    add("--record", action="store_true", help="write records to data/runs, to be committed")
    add("--list", action="store_true", help="only list the runs, and which are recorded")
    add("--export", type=Path, metavar="FILE", help="write the finished records into one file")
    add("--import", dest="import_file", type=Path, help="add the records in such a file")


def _chosen(asked: argparse.Namespace) -> list[tuple]:
    """The labelled configs that the command asks for, in the order of the arms it names."""
    from clr.papers import EXPERIMENTS
    from clr.training import Source

    chosen = [
        EXPERIMENTS[checks.one_of("--experiment", name, EXPERIMENTS)]
        for name in asked.experiment or EXPERIMENTS
    ]
    if asked.dataset and not asked.experiment:  # text is for other models than images
        of_text = Source.parse(asked.dataset).kind == "text"
        chosen = [each for each in chosen if (each.dataset == "text") == of_text]
    every = {
        (each.name, arm): configs
        for each in chosen
        for arm, configs in each.configs(seeds=asked.seeds, dataset=asked.dataset).items()
    }
    known = dict.fromkeys(arm for _, arm in every)
    arms = [checks.one_of("--arms", arm, known) for arm in dict.fromkeys(asked.arms)]
    wanted = [place for arm in arms for place in every if place[1] == arm] if arms else every
    return [(f"{name}: {arm}", config) for name, arm in wanted for config in every[name, arm]]


def claims(asked: argparse.Namespace) -> int:
    """Print every claim and every published number beside our runs.

    Example:
      python -m clr claims --markdown
    """
    from clr.papers import readme, scoreboard

    if asked.readme:
        readme.write()
    elif asked.json:
        print(scoreboard.as_json())
    else:
        print(scoreboard.as_markdown() if asked.markdown else scoreboard.as_text())
    return 0


def _claims_options(add: Callable):
    add("--json", action="store_true", help="print JSON, with unformatted numbers")
    add("--markdown", action="store_true", help="as tables in Markdown")
    add("--readme", action="store_true", help="update README.md and its figure")


def bench(asked: argparse.Namespace) -> int:
    """Measure the speed of training, and of a tutorial's loop, and the machine's limit.

    Example:
      python -m clr bench --against lightning --rounds 3
    """
    from clr.bench import OTHERS, report

    others = [checks.one_of("--against", name, OTHERS) for name in asked.against]
    for line in report(others, asked.rounds):
        print(line, flush=True)
    return 0


def _bench_options(add: Callable):
    add("--against", **SEVERAL, metavar="NAME", help="also measure fastai, lightning")
    add("--rounds", type=_count, default=7, metavar="N", help="rounds, in turns (default 7)")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 2 after a line that says what was wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops a command as Ctrl-C does
    try:
        try:
            asked = parser().parse_args(argv)
        except SystemExit as stop:  # after --help or a message about an option
            status = stop.code
        else:
            status = asked.command(asked)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has closed it, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "clr").split(".")[0] == "clr":
            raise
        print(
            "python -m clr needs the 'lab' extra: pip install '.[lab]' (there is no module "
            f"named {error.name!r})",
            file=sys.stderr,
        )
    except (ImportError, OSError, ValueError) as error:
        print(f"clr {asked.command.__name__}: {error}", file=sys.stderr)
    return 2
