import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import psutil
import pytest

from clr import cli
from clr.papers.cyclical import REHEARSAL
from clr.policies import Fixed
from clr.runs import Store, sweep
from clr.runs.locks import Locked


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
        REHEARSAL.runs(Store.usual().train, seeds=2)
    torch.set_num_threads(threads)
    return histories(folder)


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
        # what is there is a matter of the workers, which are asked once
        bad = ["--dataset", "folder:not/here", "--scheduler", cluster.scheduler_address]
        assert run(*arguments, *bad) == 2
        said = capsys.readouterr()
        assert "has no folder train/" in said.err and "FAILED" not in said.out
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
    assert run("--experiment", "rehearsal", "--seeds", 2) == 0
    assert histories(store) == expected
    assert {path.suffix for path in store.iterdir()} == {".csv", ".json"}


def test_what_is_left_is_estimated_from_the_finished_runs(monkeypatch, tmp_path, capsys):
    configs = [(arm, config) for arm, (config,) in REHEARSAL.configs(seeds=1).items()]
    # 60 iterations a run, 6,000 s each, two at a time: 12,000 s in all
    monkeypatch.setattr(sweep, "train", lambda *_: ("finished, 50.0 %", 6000.0))
    assert sweep.run(configs, lambda: ThreadPoolExecutor(1), Store(tmp_path), jobs=2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/4] fixed seed 0: finished, 50.0 % in 1.7 h; about 3.3 h left"


def test_a_run_that_learned_nothing_is_named_while_the_sweep_goes_on(store, capsys):
    config = replace(REHEARSAL.config("fixed"), policy=Fixed(0), iterations=2)
    configs = [(f"seed {seed}", replace(config, seed=seed)) for seed in range(2)]
    assert sweep.run(configs, lambda: ThreadPoolExecutor(1), Store.live()) == 0
    for line, (_, each) in zip(capsys.readouterr().out.splitlines(), configs, strict=True):
        run = Store.live().search(each)
        said = f": finished, {100 * run.final_accuracy:.1f} % (no better than chance) in "
        assert said in line and run.at_chance
    diverges = replace(config, policy=Fixed(1e9), model="cifar10_full", iterations=40)
    sweep.run([("fixed", diverges)], lambda: ThreadPoolExecutor(1), Store.live())
    assert re.search(r"\] fixed seed 0: diverged at iteration \d+ in ", capsys.readouterr().out)


def test_two_sweeps_with_three_workers_share_the_work(store, expected):
    command = [sys.executable, "-m", "clr", "sweep", "--experiment", "rehearsal"]
    process = subprocess.Popen([*command, "--seeds", "2"], stdout=subprocess.PIPE, text=True)
    while not psutil.Process(process.pid).children():  # its worker starts when ours start
        time.sleep(0.02)
    assert run("--experiment", "rehearsal", "--seeds", 2, "--jobs", 2) == 0
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert histories(store) == expected


def test_runs_that_another_process_trains_are_waited_for(monkeypatch, tmp_path, capsys):
    def train(config, store, device, progress, wait):
        if not wait:
            raise Locked("another process is training it")
        return "finished, 50.0 %", 60.0

    monkeypatch.setattr(sweep, "train", train)
    configs = [(arm, config) for arm, (config,) in REHEARSAL.configs(seeds=1).items()]
    assert sweep.run(configs, lambda: ThreadPoolExecutor(1), Store(tmp_path)) == 0
    said, *lines = capsys.readouterr().out.splitlines()
    assert said == f"another process trains {len(configs)} runs; waiting for them"
    assert len(lines) == len(configs) and all("finished, 50.0 %" in line for line in lines)


def test_workers_share_the_cores_or_do_as_omp_num_threads_says(monkeypatch):
    for said, jobs, threads in ((None, 2, 3), (None, 8, 1), ("2", 8, 2), ("4,2", 8, 4)):
        monkeypatch.setattr(sweep.torch, "get_num_threads", lambda: 6)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OMP_NUM_THREADS", said)
        with sweep.pool(jobs) as executor:
            assert executor._initargs[0] == threads


def test_a_pool_that_breaks_while_the_runs_are_handed_out_is_replaced(
    monkeypatch, tmp_path, capsys
):
    class Breaks(ThreadPoolExecutor):
        def submit(self, *task):
            if executors == [self] and len(handed) == 1:
                raise BrokenProcessPool
            handed.append(task)
            return super().submit(*task)

    def make():
        executors.append(Breaks(1))
        return executors[-1]

    executors, handed = [], []
    monkeypatch.setattr(sweep, "train", lambda *_: ("finished, 50.0 %", 60.0))
    configs = [(arm, config) for arm, (config,) in REHEARSAL.configs(seeds=1).items()]
    assert sweep.run(configs, make, Store(tmp_path)) == 0
    said = capsys.readouterr().out
    assert f"a worker died; {len(configs) - 1} runs continue from their checkpoints" in said
    assert len(executors) == 2 and len(handed) == len(configs)


def test_ctrl_c_while_the_runs_are_handed_out(tmp_path):
    class Interrupted(ThreadPoolExecutor):
        def submit(self, *_):
            raise KeyboardInterrupt

        def shutdown(self, **_):
            ended.append(True)

    ended = []
    config = REHEARSAL.config("fixed")
    with pytest.raises(KeyboardInterrupt):
        sweep.run([("fixed", config)], lambda: Interrupted(1), Store(tmp_path))
    assert ended
