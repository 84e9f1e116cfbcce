"""The command line: `run` notebooks, `sweep` experiments, list `claims`, `bench` training."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from clr import checks, interrupts
from clr.paths import ROOT


class Command(click.Command):
    """A command whose repeatable options can also take several values: `--only 03 01`.

    click has no option with one or more values, but its parser reads `--only 03 --only 01`.
    So the name of such an option (`multiple=True`) is written before each of the values that
    follow it, up to the next argument that begins with a dash. This does not depend on how
    click's parser works, and no positional argument can be lost: our commands have none.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the options out, then parse them as click does."""
        repeatable = {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.multiple and option.nargs == 1
            for name in option.opts
        }
        written, rest = [], list(args)
        while rest:
            name = rest.pop(0)
            if name not in repeatable:
                written.append(name)
                continue
            if not rest or rest[0].startswith("-"):
                raise click.BadOptionUsage(
                    name, f"Option {name} needs at least one value.", ctx
                )
            while rest and not rest[0].startswith("-"):
                written += [name, rest.pop(0)]
        return super().parse_args(ctx, written)


class Device(click.ParamType):
    """The name of a device as PyTorch writes it."""

    name = "device"

    def convert(self, value, param, ctx) -> str:
        """The same name, if it is the name of a device."""
        if not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            self.fail(f"must be cpu, cuda or cuda:N; got {value!r}", param, ctx)
        return value


COUNT = click.IntRange(min=1)


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
def cli():  # noqa: D103
    pass


@cli.command(
    cls=Command,
    short_help="run the notebooks headless",
    epilog="\b\nExample:\n  python -m clr run --only 03 -p dataset digits -p iterations 500",
)
@click.option(
    "--params",
    default="quick",
    metavar="NAME",
    help="a folder in notebooks/params: quick (default), laptop or paper",
)
@click.option("--only", multiple=True, metavar="01 ...", help="only these notebooks")
@click.option(
    "--jobs", type=COUNT, default=1, metavar="N", help="notebooks at a time (default 1)"
)
@click.option(
    "--out",
    type=Path,
    default=ROOT / "results",
    metavar="DIR",
    help="the folder in which <params>/ is written (default results/)",
)
@click.option(
    "-p",
    "--parameter",
    "given",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="set a notebook parameter, instead of the value in the file of parameters",
)
def run(params, only, jobs, out, given) -> int:
    """Run the notebooks and write their pages to results/.

    A notebook's parameters are listed in its first code cell, with their types and defaults;
    the files in notebooks/params/ hold other values for them, and -p changes one.

    The exit status is 0 when all were executed, 1 when one failed, 2 when nothing was run.
    """
    from clr.notebooks import execution

    return execution.run(params, only=only, jobs=jobs, out=out, given=given)


@cli.command(
    cls=Command,
    short_help="train the runs of experiments",
    epilog="\b\nExample:\n"
    "  python -m clr sweep --experiment table1 --arms fixed triangular2 --seeds 3",
)
@click.option(
    "--experiment",
    "experiments",
    multiple=True,
    metavar="NAME ...",
    help="only these of the experiments that --list shows",
)
@click.option("--arms", multiple=True, metavar="ARM ...", help="only these arms, in this order")
@click.option(
    "--seeds", type=COUNT, metavar="N", help="runs per arm (default: as many as planned)"
)
@click.option("--dataset", metavar="NAME", help="another data set than the experiment's own")
@click.option("--jobs", type=COUNT, default=1, metavar="N", help="runs at a time (default 1)")
@click.option("--device", type=Device(), help="cpu or cuda (default: a GPU if there is one)")
@click.option(
    "--scheduler", metavar="tcp://HOST:PORT", help="train on a dask scheduler's workers"
)
@click.option("--record", is_flag=True, help="write records to data/runs, to be committed")
@click.option(
    "--list", "list_only", is_flag=True, help="only list the runs, and which are recorded"
)
@click.option(
    "--export", "export_to", metavar="FILE", help="write the finished records into one file"
)
@click.option(
    "--import",
    "import_from",
    metavar="FILE",
    help="add the records in such a file, or in a folder",
)
def sweep(
    experiments,
    arms,
    seeds,
    dataset,
    jobs,
    device,
    scheduler,
    record,
    list_only,
    export_to,
    import_from,
) -> int:
    """List the runs of all experiments, and train those that are not recorded yet."""
    from clr.runs import Store, export
    from clr.runs import sweep as sweeps

    store = Store.committed() if record else Store.usual()
    try:
        if import_from:
            new, old = store.add(Path(import_from))
            print(f"{new} records imported to {store.folder}, {old} were already there")
            return 0
        chosen = _chosen(experiments, arms, seeds, dataset)
        recorded, missing = [], []
        for label, config in chosen:
            found = store.by_data(config)
            print(f"{label} seed {config.seed} {_said(config, found)}")
            if run := found.get(config.source.name):
                recorded.append(run)
            else:
                missing.append((label, config))
        print(f"{len(recorded)} of {len(chosen)} runs recorded", flush=True)
        if export_to:
            if not recorded:
                raise ValueError("--export needs at least one recorded run; none is recorded")
            export(recorded, Path(export_to))
            print(f"exported to {export_to}")
        if list_only or export_to or not missing:
            return 0
        failed = sweeps.run(missing, store, device=device, jobs=jobs, scheduler=scheduler)
        return 1 if failed else 0
    except (ImportError, ValueError, OSError) as error:
        print(f"clr sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        if not stop.args:  # else the run that was stopped has said it
            print("stopped; the same command goes on from there")
        return 130


def _chosen(experiments, arms, seeds, dataset) -> list[tuple]:
    """The labelled configs that the command asks for, in the order of the arms it names."""
    from clr.papers import EXPERIMENTS

    chosen = [
        EXPERIMENTS[checks.one_of("--experiment", name, EXPERIMENTS)]
        for name in experiments or EXPERIMENTS
    ]
    for arm in arms:
        checks.one_of("--arms", arm, dict.fromkeys(a for each in chosen for a in each.arms))
    found = []
    for each in chosen:
        configs = each.configs(seeds=seeds, dataset=dataset)
        found += [(arm, each.name, configs[arm]) for arm in configs if not arms or arm in arms]
    if arms:
        found.sort(key=lambda row: arms.index(row[0]))
    return [(f"{name}: {arm}", config) for arm, name, configs in found for config in configs]


def _said(config, found) -> str:
    """Whether a run is recorded, as text; `found` holds its records by their data."""
    where = f"on {config.dataset}, {config.iterations:,} iterations"
    if run := found.get(config.source.name):
        return f"{where}: recorded, {run.outcome}"
    for data, other in found.items():
        return f"{where}: not run (on {data}: {other.outcome})"
    return f"{where}: not run"


@cli.command(
    cls=Command,
    short_help="compare the papers' claims with our runs",
    epilog="\b\nExample:\n  python -m clr claims --markdown",
)
@click.option("--json", is_flag=True, help="print JSON, with unformatted numbers")
@click.option("--markdown", is_flag=True, help="as tables in Markdown")
@click.option("--readme", is_flag=True, help="update README.md and its figure")
def claims(json, markdown, readme) -> int:
    """Print every claim and every published number beside our runs."""
    if json + markdown + readme > 1:
        raise click.UsageError("only one of --json, --markdown and --readme can be given")
    from clr.papers import scoreboard

    if readme:
        from clr.papers.readme import write

        write()
        return 0
    if json:
        print(scoreboard.as_json())
        return 0
    print(scoreboard.as_markdown() if markdown else scoreboard.as_text())
    return 0


@cli.command(
    cls=Command,
    short_help="measure the speed of training",
    epilog="\b\nExample:\n  python -m clr bench --against lightning --rounds 3",
)
@click.option(
    "--against", default="", metavar="fastai,lightning", help="also measure these libraries"
)
@click.option(
    "--rounds", type=COUNT, default=7, metavar="N", help="rounds, in turns (default 7)"
)
def bench(against, rounds) -> int:
    """Measure the speed of training, and of a tutorial's loop, and the machine's limit."""
    import importlib.util
    import itertools

    import torch

    from clr.bench import gpu
    from clr.bench import step as bench

    try:
        others = [checks.one_of("--against", n, bench.OTHERS) for n in against.split(",") if n]
    except ValueError as error:
        print(f"clr bench: {error}", file=sys.stderr)
        return 2
    for name in [name for name in others if not importlib.util.find_spec(name)]:
        print(f"{name} is not installed and left out")
        others.remove(name)
    report = bench.report(others, rounds=rounds)
    if torch.cuda.is_available():
        report = itertools.chain(report, gpu.report(rounds))
    for line in report:
        print(line, flush=True)
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    interrupts.take_sigterm_as_ctrl_c()
    args = sys.argv[1:] if argv is None else list(argv)
    # click's own main is not used: it ends the process, and its status for Ctrl-C is 1
    try:
        with cli.make_context("python -m clr", args) as context:
            status = cli.invoke(context)
        sys.stdout.flush()
        return status
    except click.exceptions.Exit as error:  # after --help
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has closed it, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
