import re
import subprocess
import sys

import pytest
import torch
from made import rewrite

from clr import cli
from clr.papers.cyclical import REHEARSAL
from clr.runs import Store, record, sweep
from clr.training import data, text


def run(*args):
    return cli.main(["sweep", *map(str, args)])


def test_what_is_recorded_is_said_without_the_data(store, capsys):
    assert run("--experiment", "table1", "--seeds", 1, "--list") == 0
    out = capsys.readouterr().out
    assert "table1: exp_range seed 0 on cifar10, 42,000 iterations: not run" in out
    assert "0 of 14 runs recorded" in out
    assert re.search(
        r"table1: fixed seed 0 .*: not run \(on folder:cifar10-jpeg: 80.2 %\)", out
    )
    assert run("--list", "--experiment", "table1", "--dataset", "folder:cifar10-jpeg") == 0
    assert "fixed seed 0 on folder:cifar10-jpeg, 70,000 iterations: recorded, 80.2" in (
        capsys.readouterr().out
    )
    Store.usual().train(REHEARSAL.config("fixed"))
    assert run("--experiment", "rehearsal", "--seeds", 1, "--list") == 0
    out = capsys.readouterr().out
    assert "rehearsal: fixed seed 0 on digits, 60 iterations: recorded, 9" in out
    assert "1 of 4 runs recorded" in out


def test_only_the_arms_that_are_asked_for(store, capsys):
    arms = "--list", "--seeds", 1, "--arms", "triangular2, one stage", "fixed"
    assert run("--experiment", "table1", *arms) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" seed")[0] for line in lines[:-1]] == [
        "table1: triangular2, one stage",
        "table1: fixed",
    ]
    assert run("--experiment", "table1", "--arms", "fixd") == 2
    said = capsys.readouterr().err
    assert "--arms must be one of fixed, triangular2" in said
    assert "'triangular2, one stage'" in said  # a name with a comma in it


def test_several_experiments_and_an_arm_that_only_one_of_them_has(store, capsys):
    some = "--list", "--seeds", 1, "--experiment", "rehearsal", "mnist"
    assert run(*some) == 0
    out = capsys.readouterr().out
    assert "rehearsal: triangular seed 0" in out and "mnist: inv seed 0" in out
    assert "table1" not in out
    assert run(*some, "--arms", "inv", "fixed") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" seed")[0] for line in lines[:-1]] == ["mnist: inv", "rehearsal: fixed"]
    assert run(*some, "--arms", "cosine") == 2
    assert "--arms must be one of fixed, triangular" in capsys.readouterr().err


def test_a_bad_scheduler_or_device_is_named(store, capsys):
    pytest.importorskip("distributed")
    some = "--experiment", "rehearsal", "--seeds", 1
    for bad in ("foo", "localhost:x", "tcp://localhost", "tcp://localhost:70000"):
        assert run(*some, "--scheduler", bad) == 2
        said = capsys.readouterr().err
        assert f"--scheduler must be tcp://HOST:PORT; got '{bad}'" in said
    assert run(*some, "--device", "gpu") == 2
    assert "device must be one of cpu" in capsys.readouterr().err


def test_bad_arguments(store, capsys):
    assert run("--experiment", "table9") == 2
    assert "--experiment must be one of table1, tenth" in capsys.readouterr().err


@pytest.fixture
def no_process(monkeypatch):
    """Starting a worker is an error."""

    def start(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(sweep, "_in_processes", start)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "cifar11"], "dataset must be one of digits, .*; got 'cifar11'"),
        (["--dataset", "folder:not/here"], "'folder:not/here' has no folder train/; an image"),
        (["--device", "cuda"], "device must be one of cpu; got 'cuda'"),
        (["--device", "cuda:1"], "device must be one of cpu; got 'cuda:1'"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_all_runs_share_is_checked_once_before_any_starts(
    store, monkeypatch, capsys, no_process, arguments, says, jobs
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("--experiment", "rehearsal", "--jobs", jobs, *arguments) == 2
    out, err = capsys.readouterr()
    assert "FAILED" not in out and re.fullmatch(f"clr sweep: .*{says}.*\n", err)
    assert not store.exists()


def test_a_gpu_that_is_not_there_is_named_beside_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for there in (None, "cpu", "cuda", "cuda:0", "cuda:1"):
        sweep.require(["digits"], there)
    with pytest.raises(ValueError, match="one of cpu, cuda, cuda:0, cuda:1; got 'cuda:2'"):
        sweep.require(["digits"], "cuda:2")


def test_a_data_set_that_cannot_be_downloaded_is_said_once(
    store, tmp_path, monkeypatch, capsys, no_process
):
    def fails(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("CLR_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(data, "_download", fails)
    assert run("--experiment", "rehearsal", "--dataset", "mnist") == 2
    out, err = capsys.readouterr()
    assert "FAILED" not in out and err.count("\n") == 1
    assert err.startswith("clr sweep: could not download MNIST to ")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PACKAGE", "no-such-package", "the package no-such-package, which is not installed"),
        ("LARGEST", 0, "training files of the text must have at least 129 bytes.*; got 0"),
    ],
)
def test_a_text_that_cannot_be_read_is_said_once(
    store, monkeypatch, capsys, no_process, name, value, says
):
    monkeypatch.setattr(Store, "by_data", lambda *_: {})  # nothing is recorded
    monkeypatch.setattr(text, name, value)
    sweep.load_once.cache_clear()  # of another test
    assert run("--experiment", "again", "--seeds", 1) == 2
    out, err = capsys.readouterr()
    assert "FAILED" not in out and re.fullmatch(f"clr sweep: .*{says}.*\n", err)
    assert not store.exists()


def test_a_folder_that_only_names_recorded_runs_can_be_listed(store, capsys):
    some = "--experiment", "rehearsal", "--seeds", 1, "--dataset", "folder:not/here"
    assert run(*some, "--list") == 0
    assert "0 of 4 runs recorded" in capsys.readouterr().out


def test_works_without_papermill_and_jupyter(store):
    script = """
import sys
for name in ("papermill", "nbconvert", "nbformat", "jupyter_client", "IPython", "ipykernel"):
    sys.modules[name] = None
from clr.cli import main
raise SystemExit(main(["sweep", "--experiment", "rehearsal", "--list"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "0 of 20 runs recorded" in done.stdout, done.stderr


def test_a_diverged_run_is_named_in_the_list(store, capsys):
    trained = Store.usual().train(REHEARSAL.config("fixed"))
    rewrite(trained.path, trained.history[:2], ended="diverged at iteration 7")
    assert record.load(trained.path).ended == "diverged at iteration 7"
    run("--experiment", "rehearsal", "--seeds", 1, "--list")
    assert "recorded, diverged at iteration 7" in capsys.readouterr().out


def test_a_run_at_chance_is_named_in_the_list(store, capsys):
    trained = Store.usual().train(REHEARSAL.config("fixed"))
    rewrite(trained.path, trained.history.assign(test_accuracy=21 / 359))
    run("--experiment", "rehearsal", "--seeds", 1, "--list")
    assert "recorded, 5.8 % (no better than chance)\n" in capsys.readouterr().out
    run("--experiment", "rehearsal", "--seeds", 1, "--list", "--dataset", "mnist")
    said = "not run (on digits: 5.8 % (no better than chance))\n"
    assert said in capsys.readouterr().out
