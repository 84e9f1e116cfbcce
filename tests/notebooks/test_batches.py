"""The examples in docs/batches: the grid and its table run headless, the scripts agree."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from clr.notebooks import parameters
from clr.paths import ROOT

BATCHES = ROOT / "docs" / "batches"
NOTEBOOK = ROOT / "notebooks" / "03_cifar10_policies.ipynb"


def run(command, cwd, **environment):
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """A folder with notebook 3, as the repository's is."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "notebooks")
    return tmp_path


def test_a_grid_from_python_and_its_table(folder):
    script = (BATCHES / "grid.py").read_text()
    tiny = script.replace('"seeds": 2, "iterations": 400', '"seeds": 1, "iterations": 4')
    tiny = tiny.replace("[50, 100]", "[2]")  # two combinations
    assert tiny.count("[2]") == 1 and ": 4}" in tiny
    (folder / "grid.py").write_text(tiny)
    said = run([sys.executable, "grid.py"], folder)
    assert said == "done: stepsize=2,max_lr=0.006\ndone: stepsize=2,max_lr=0.012\n"
    run([sys.executable, BATCHES / "table.py"], folder)
    table = pd.read_csv(folder / "results" / "batch" / "table.csv")
    # the fixed rate of base_lr is one run for the whole grid; at the mean rate there are two
    assert (table["policy"] == "fixed").sum() == 3 and (table["n"] == 1).all()
    assert sorted(table.loc[table["policy"] == "triangular", "max_lr"]) == [0.006, 0.012]
    assert table["accuracy"].between(0, 1).all() and (table["diverged"] == 0).all()
    assert len(list((folder / "results" / "batch").glob("*.ipynb"))) == 2


def test_the_shell_grid_gives_what_the_python_grid_gives(folder):
    (folder / "papermill").write_text('#!/bin/sh\necho "$@" "$CLR_RUNS" >> calls\n')
    (folder / "papermill").chmod(0o755)
    run(["sh", BATCHES / "grid.sh"], folder, PATH=f"{folder}:{os.environ['PATH']}")
    calls = [shlex.split(line) for line in (folder / "calls").read_text().splitlines()]
    kinds = parameters.declared(NOTEBOOK)
    space = {"__name__": "grid"}
    shown = (BATCHES / "grid.py").read_text()
    exec(
        "\n".join(line for line in shown.splitlines() if line.startswith(("fixed", "grid"))),
        space,
    )
    points = set()
    for call in calls:
        names = [call[i + 1] for i, word in enumerate(call) if word == "-p"]
        values = [call[i + 2] for i, word in enumerate(call) if word == "-p"]
        given = dict(zip(names, values, strict=True))
        assert set(given) <= set(kinds)
        same = {name: str(value) for name, value in space["fixed"].items()}
        assert {name: given[name] for name in same} == same
        points.add((given["stepsize"], given["max_lr"]))
        assert call[-1].endswith("/results/batch/runs")
    assert points == {
        (str(a), str(b)) for a in space["grid"]["stepsize"] for b in space["grid"]["max_lr"]
    }


def test_the_nightly_job_gives_a_command_that_exists(tmp_path):
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/call\n')
    stub.chmod(0o755)
    run([BATCHES / "nightly.sh", "--jobs", "1"], tmp_path, PYTHON=str(stub))
    call = (tmp_path / "call").read_text()
    pattern = r"-m clr run --params laptop --out results/nightly/\d{4}-\d\d-\d\d --jobs 1\n"
    assert re.fullmatch(pattern, call)
    helped = run([sys.executable, "-m", "clr", "run", "--help"], ROOT)
    assert all(option in helped for option in ("--params", "--out", "--jobs"))
