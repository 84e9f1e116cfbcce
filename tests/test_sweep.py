import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest

from clr import cli, runs, sweep
from clr.experiments import EXPERIMENTS
from clr.policies import Exp
from clr.runs import load_or_train
from clr.training import RunConfig

NAMES = ("fixed", "triangular", "triangular2", "exp_range")


def run(*args):
    return cli.main(["sweep", *map(str, args)])


def histories(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The rehearsal's histories, trained one after another in this process."""
    import torch

    folder, threads = tmp_path_factory.mktemp("expected"), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLR_RUNS", str(folder))
        for configs in EXPERIMENTS["rehearsal"][0]("digits", 2).values():
            for config in configs:
                load_or_train(config)
    torch.set_num_threads(threads)
    return histories(folder)


def test_the_papers_table_is_caffes_protocol():
    experiment = EXPERIMENTS["table1"][0]("cifar10", 2)
    lengths = {label: configs[0].iterations for label, configs in experiment.items()}
    assert lengths == {
        "fixed": 70_000, "triangular2": 25_000, "decay": 25_000, "exp": 70_000,
        "exp_range": 42_000, "triangular": 24_000, "triangular2, one stage": 24_000,
        "exp_range, stepsize 3,000": 42_000,
        "exp_range, amplitude only": 42_000, "cosine": 25_000, "step": 25_000,
        "triangular2, Welch": 25_000, "triangular2, Hann": 25_000,
        "triangular2, PyTorch's SGD": 25_000,
    }  # fmt: skip
    for label, configs in experiment.items():
        assert [config.seed for config in configs] == [0, 1]
        for c in configs:
            assert (c.model, c.batch_size) == ("cifar10_full", 100)
            assert c.optimizer == ("torch_sgd" if "PyTorch" in label else "sgd")
            assert (c.momentum, c.weight_decay, c.shuffle) == (0.9, 0.004, False), label
            assert not c.flip and not c.crop and c.policy(c.iterations) < 0.006


def test_exp_and_the_waves_of_table1():
    arms = {k: c.policy for k, (c,) in EXPERIMENTS["table1"][0]("cifar10", 1).items()}
    assert arms["exp"] == Exp(0.001, 0.99994)
    for arm, wave in (("Welch", "welch"), ("Hann", "hann")):
        assert {p.wave.__name__ for p, _ in arms[f"triangular2, {arm}"].stages} == {wave}


def test_the_tenth_is_the_papers_protocol_ten_times_shorter():
    full, short = (EXPERIMENTS[name][0]("cifar10", 1) for name in ("table1", "tenth"))
    assert len(short) == 7 and set(short) < set(full)
    for label, (ours,) in short.items():
        (config,) = full[label]
        assert 10 * ours.iterations == config.iterations
        rates = ours.policy(np.arange(ours.iterations))
        same = config.policy(10 * np.arange(ours.iterations))
        np.testing.assert_allclose(rates, same, rtol=1e-9, err_msg=label)
        differ = {"policy", "iterations", "test_every"}
        assert all(
            value == getattr(ours, name)
            for name, value in vars(config).items()
            if name not in differ
        )


def test_the_laptop_protocol_gives_the_fixed_rate_three_times_as_long():
    arms = EXPERIMENTS["laptop"][0]("cifar10", 1)
    assert {label: c.iterations for label, (c,) in arms.items()} == dict.fromkeys(
        arms, 4000
    ) | {"fixed": 12_000}
    for label, (c,) in arms.items():
        assert (c.weight_decay, c.shuffle, c.batch_size) == (0.004, False, 100)
        if "triangular" in label:
            assert c.policy([0, 1000, 2000]).tolist() == [0.001, 0.006, 0.001]


def test_mnists_stepsizes_are_the_papers_in_epochs():
    arms = EXPERIMENTS["mnist"][0]("mnist", 1)
    ups = {n: arms[f"1cycle, {n} epochs"][0].policy.stepsize for n in (85, 50, 25, 12)}
    assert ups == {85: 4688, 50: 2695, 25: 1406, 12: 586}


def test_only_two_arms_have_the_slow_average():
    for name in ("superconvergence", "superconvergence_small"):
        for arm, (c,) in EXPERIMENTS[name][0]("cifar10", 1).items():
            slow = arm in ("step", "one cycle, the step's statistics")
            assert c.bn_fraction == (0.999 if slow else 0.95), arm


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
    load_or_train(EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0])
    assert run("--experiment", "rehearsal", "--seeds", 1, "--list") == 0
    out = capsys.readouterr().out
    assert "rehearsal: fixed seed 0 on digits, 60 iterations: recorded, 9" in out
    assert "1 of 4 runs recorded" in out


def test_eight_runs_on_the_pool_one_worker_killed(store, expected, capsys):
    killed = []

    def kill():  # a worker, as soon as the first run is recorded
        while not list(store.glob("*.json")):
            time.sleep(0.02)
        workers = [
            child
            for child in psutil.Process().children(recursive=True)
            if any("spawn_main" in part for part in child.cmdline())
        ]
        killed.append(workers[0].pid)
        workers[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    assert run("--experiment", "rehearsal", "--seeds", 2, "--jobs", 2) == 0
    thread.join()
    out = capsys.readouterr().out
    assert killed and "a worker died;" in out and "left" in out
    assert histories(store) == expected
    assert run("--experiment", "rehearsal", "--seeds", 2) == 0
    assert "8 of 8 runs recorded" in capsys.readouterr().out


def test_superconvergence_has_the_settings_of_the_authors_logs():
    full = EXPERIMENTS["superconvergence"][0]("cifar10", 1)
    small = EXPERIMENTS["superconvergence_small"][0]("cifar10", 1)
    (ramp,) = small.pop("range ramp")
    assert ramp.policy([0, 600]).tolist() == [0, 3] and ramp.iterations == 600
    assert list(full) == list(small)
    for arms, model, cycle in ((full, "resnet56", 10_000), (small, "resnet8", 600)):
        (one,), (step,) = arms["one cycle"], arms["step"]
        assert (one.model, one.iterations, step.iterations) == (model, cycle, 8 * cycle)
        assert (one.bn_fraction, step.bn_fraction) == (0.95, 0.999)
        assert one.policy([0, cycle // 2, cycle]).tolist() == [0.1, 3.0, 0.1]
        (low,), (zero,) = arms["one cycle, up to 0.35"], arms["one cycle, down to 0"]
        assert low.policy([0, cycle // 2, cycle]).tolist() == [0.1, 0.35, 0.1]
        assert zero.policy([0, cycle // 2, cycle]).tolist() == [0.0, 3.0, 0.0]
        drops = [5 * cycle - 1, 5 * cycle, 7 * cycle]
        assert step.policy(drops).tolist() == pytest.approx([0.35, 0.035, 0.0035])
        for arm, (c,) in arms.items():
            assert (
                c.iterations
                == (8 if arm.startswith("step") and "squ" not in arm else 1) * cycle
            )
            assert c.ghost_batch == (None if "whole" in arm else 125) and c.flip and not c.crop
            assert c.weight_decay == 0.0001


def test_superconvergence_more_varies_the_two_arms_of_the_figure():
    both = EXPERIMENTS["superconvergence"][0]("cifar10", 1)
    more = EXPERIMENTS["superconvergence_more"][0]("cifar10", 1)
    variants = {name.split(", ", 1)[1] for name in more if not name.startswith("range")}
    assert len(variants) == 6 and len(more) == 2 + 2 * 6
    for variant in variants:
        for arm in ("one cycle", "step"):
            (found,), (expected,) = more[f"{arm}, {variant}"], both[arm]
            if variant.endswith(" images"):
                differs = {"train_images": int(variant.split()[0].replace(",", ""))}
            else:
                parts = 8 * ({"resnet20": 125, "resnet110": 100}[variant])
                differs = {"model": variant, "batch_size": parts, "ghost_batch": parts // 8}
            assert found == replace(expected, **differs)
    for n in (5000, 20_000):
        (ramp,) = more[f"range ramp, {n:,}"]
        assert ramp.iterations == n and ramp.policy([0, n]).tolist() == [0, 3]
        assert ramp.bn_fraction == 0.95


def test_mnist_is_the_papers_table_2():
    arms = EXPERIMENTS["mnist"][0]("mnist", 1)
    lengths = {arm: config.iterations for arm, (config,) in arms.items()}
    assert lengths["inv"] == lengths["step"] == 10_000  # 85 epochs of 117.2
    assert lengths["1cycle, 12 epochs"] == 1406 and lengths["1cycle, 1 epoch"] == 117
    for arm, (c,) in arms.items():
        assert (c.model, c.batch_size, c.weight_decay) == ("lenet", 512, 0.0005)
        assert not c.subtract_mean and (c.momentum_policy is None) == ("1cycle" not in arm)
        if c.momentum_policy:
            up = c.policy.stepsize
            low = 0.02 if arm == "1cycle, 85 epochs" else 0.01
            knots = [float(c.policy(t)) for t in (0, up, 2 * up)]
            assert knots == pytest.approx([low, 10 * low, low / 1000])
            assert (c.momentum_policy(0), c.momentum_policy(up)) == (0.95, 0.8)
            assert 2 * up < c.iterations


@pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="needs clr[cluster]")
def test_eight_runs_on_dask_workers_one_killed(store, expected, monkeypatch, capsys):
    from distributed import LocalCluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:

        def kill():
            while not list(store.glob("*.json")):
                time.sleep(0.02)
            os.kill(next(iter(cluster.workers.values())).process.pid, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        arguments = ["--experiment", "rehearsal", "--seeds", 2]
        assert run(*arguments, "--scheduler", cluster.scheduler_address) == 0
        thread.join()
    assert histories(store) == expected


def test_ctrl_c_stops_the_workers_and_the_same_command_goes_on(store, expected):
    command = [sys.executable, "-m", "clr", "sweep", "--experiment", "rehearsal"]
    command += ["--seeds", "2", "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not list(store.glob("*.json")):
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from there" in out
    assert len(list(store.glob("*.json"))) <= 4  # of 8: what was queued is not begun
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert subprocess.run(command, stdout=subprocess.PIPE).returncode == 0
    assert histories(store) == expected
    assert {path.suffix for path in store.iterdir()} == {".csv", ".json"}


def test_what_is_left_is_estimated_from_the_finished_runs(monkeypatch, tmp_path, capsys):
    configs = EXPERIMENTS["rehearsal"][0]("digits", 1)
    configs = [(label, config) for label, (config,) in configs.items()]
    # 60 iterations a run, 6,000 s each, two at a time: 12,000 s in all
    monkeypatch.setattr(sweep, "train", lambda *_: (0.5, "finished", 6000.0))
    assert sweep.run(configs, lambda: ThreadPoolExecutor(1), tmp_path, jobs=2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/4] fixed seed 0: finished, 50.0 % in 1.7 h; about 3.3 h left"


def test_two_sweeps_of_two_workers_share_the_work(store, expected):
    command = [sys.executable, "-m", "clr", "sweep", "--experiment", "rehearsal"]
    command += ["--seeds", "2", "--jobs", "2"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert any("another process's; waiting" in out for out in outs)
    assert histories(store) == expected


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


def test_two_image_folders_are_two_data_sets(store, tmp_path):
    from test_data import folder

    configs = []
    for name in ("one", "two"):
        path = folder(tmp_path / name, ("RGB",) * 5, ((8, 8),) * 5)
        make, differs = EXPERIMENTS["rehearsal"][0], {"batch_size": 5, "iterations": 2}
        values = make(f"folder:{path}", 1)["fixed"][0].to_dict() | differs
        configs.append(RunConfig.from_dict(values))
    record = load_or_train(configs[0])
    assert runs.recorded(configs[0]).path == record.path
    assert runs.recorded(configs[1]) is None
    (tmp_path / "else").mkdir()
    path = folder(tmp_path / "else" / "one", ("L",) * 5, ((8, 8),) * 5)  # the same last name
    same = RunConfig.from_dict(configs[0].to_dict() | {"dataset": f"folder:{path}"})
    table = sweep.table({"arm": [configs[0], same]})
    assert [found is not None for *_, found in table] == [True, False]
    shutil.rmtree(path)  # then the name has to do
    ((*_, found),) = sweep.table({"arm": [same]})
    assert found.path == record.path


def test_records_move_between_machines_as_one_file(
    store, expected, tmp_path, monkeypatch, capsys
):
    arguments = ["--experiment", "rehearsal", "--seeds", 1]
    for configs in EXPERIMENTS["rehearsal"][0]("digits", 1).values():
        load_or_train(configs[0])
    file = tmp_path / "records.tar.gz"
    assert run(*arguments, "--export", file) == 0
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "other"))
    assert run("--import", file) == 0
    assert "4 records imported" in capsys.readouterr().out
    assert histories(tmp_path / "other") == histories(store)
    assert run("--import", file) == 0
    assert "0 records imported to" in capsys.readouterr().out
    assert run(*arguments) == 0
    assert "4 of 4 runs recorded" in capsys.readouterr().out


def repack(file, change):
    with tarfile.open(file) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    change(members)
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def lose(members):
    members.pop(next(name for name in members if name.endswith(".csv")))


def falsify(members):
    name = next(name for name in members if name.endswith(".csv"))
    members[name] = members[name].replace(b"0.9", b"1.0")


def escape(members):
    for name in list(members):
        members["../" + name] = members.pop(name)


def rename(members):
    for name in list(members):
        members["x" + name] = members.pop(name)


@pytest.mark.parametrize("change", [lose, falsify, escape, rename])
def test_an_import_that_is_not_whole_writes_nothing(
    store, tmp_path, monkeypatch, capsys, change
):
    record = load_or_train(EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0])
    sweep.export([record], tmp_path / "file")
    repack(tmp_path / "file", change)
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "other"))
    assert run("--import", tmp_path / "file") == 2
    assert "is not whole; nothing was imported" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_an_import_repairs_a_record_that_is_not_whole(store, tmp_path, suffix):
    record = load_or_train(EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0])
    sweep.export([record], tmp_path / "file")
    if suffix == ".csv":
        record.path.with_suffix(".csv").unlink()
    else:
        record.path.write_text("{")
    assert sweep.import_(tmp_path / "file", store) == (1, 0)
    assert load_or_train(record.config).history.equals(record.history)


def test_an_import_does_not_replace_another_history(store, tmp_path, capsys):
    record = load_or_train(EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0])
    sweep.export([record], tmp_path / "file")
    csv = record.path.with_suffix(".csv")
    csv.write_text(csv.read_text() + "9,9,9,9,9\n")
    assert run("--import", tmp_path / "file") == 2
    assert "another history of" in capsys.readouterr().err
    (tmp_path / "junk").write_bytes(b"junk")
    assert run("--import", tmp_path / "junk") == 2
    assert "cannot be read as exported records" in capsys.readouterr().err


def test_records_of_a_newer_version_are_neither_replaced_nor_called_damaged(
    store, tmp_path, capsys
):
    record = load_or_train(EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0])
    sweep.export([record], tmp_path / "file")
    newer = record.path.read_text().replace('"format": 1', '"format": 99')
    record.path.write_text(newer)
    assert run("--import", tmp_path / "file") == 2
    assert "written by a newer version" in capsys.readouterr().err
    assert record.path.read_text() == newer

    def age(members):
        name = next(name for name in members if name.endswith(".json"))
        members[name] = members[name].replace(b'"format": 1', b'"format": 99')

    repack(tmp_path / "file", age)
    shutil.rmtree(store)
    assert run("--import", tmp_path / "file") == 2
    assert "written by a newer version" in capsys.readouterr().err and not store.exists()


def test_workers_share_the_cores_or_do_as_omp_num_threads_says(monkeypatch):
    for said, jobs, threads in ((None, 2, 3), (None, 8, 1), ("2", 8, 2)):
        monkeypatch.setattr(sweep.torch, "get_num_threads", lambda: 6)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OMP_NUM_THREADS", said)
        with sweep.pool(jobs) as executor:
            assert executor._initargs[0] == threads


def test_ctrl_c_while_the_runs_are_handed_out(tmp_path):
    class Interrupted(ThreadPoolExecutor):
        def submit(self, *_):
            raise KeyboardInterrupt

        def shutdown(self, **_):
            ended.append(True)

    ended = []
    config = EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0]
    with pytest.raises(KeyboardInterrupt):
        sweep.run([("fixed", config)], lambda: Interrupted(1), tmp_path)
    assert ended


def test_a_bad_scheduler_or_device_is_named(store, capsys):
    pytest.importorskip("distributed")
    some = "--experiment", "rehearsal", "--seeds", 1
    for bad in ("foo", "localhost:x"):
        assert run(*some, "--scheduler", bad) == 2
        said = capsys.readouterr().err
        assert f"--scheduler must be tcp://HOST:PORT; got '{bad}'" in said
    assert run(*some, "--device", "gpu") == 2
    assert "must be cpu, cuda or cuda:N; got 'gpu'" in capsys.readouterr().err


def test_bad_arguments(store, capsys):
    assert run("--experiment", "table9") == 2
    assert "--experiment must be one of table1, tenth" in capsys.readouterr().err
    assert run("--experiment", "rehearsal", "--seeds", 1, "--dataset", "cifar11") == 1
    assert "FAILED, ValueError: dataset must be one of digits" in capsys.readouterr().out


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
    values = EXPERIMENTS["rehearsal"][0]("digits", 1)["fixed"][0].to_dict()
    record = load_or_train(RunConfig.from_dict(values))
    content = json.loads(record.path.read_text())
    record.path.write_text(json.dumps(content | {"ended": "diverged at iteration 7"}))
    assert runs.load(record.path).ended == "diverged at iteration 7"
    run("--experiment", "rehearsal", "--seeds", 1, "--list")
    assert "recorded, diverged at iteration 7" in capsys.readouterr().out
