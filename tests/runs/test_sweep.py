import importlib.util
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
from made import histories

from clr import cli
from clr.papers.cyclical import REHEARSAL
from clr.policies import Fixed
from clr.runs import Store, sweep

CONFIGS = [(arm, config) for arm, (config,) in REHEARSAL.configs(seeds=1).items()]
LONG = ["--experiment", "laptop", "--dataset", "digits", "--seeds", "1"]


def run(*args):
    return cli.main(["sweep", *map(str, args)])


def start(*args, **environment):
    """`python -m clr sweep` in a process of its own, which leads a group, as in a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "clr", "sweep", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
    )


def wait_for(pattern, store, n=1):
    """Wait until there are so many files with that pattern in a store."""
    end = time.monotonic() + 120
    while len(list(store.rglob(pattern))) < n:
        assert time.monotonic() < end, f"no {n} {pattern} in {store}"
        time.sleep(0.02)


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


def test_eight_runs_by_two_workers_one_killed(store, expected, capsys):
    killed = []

    def kill():  # a worker, as soon as the first run is recorded
        wait_for("*.json", store)
        workers = [
            child
            for child in psutil.Process().children(recursive=True)
            if any("sweep.worker()" in part for part in child.cmdline())
        ]
        killed.append(workers[0].pid)
        workers[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    assert run("--experiment", "rehearsal", "--seeds", 2, "--jobs", 2) == 0
    thread.join()
    out = capsys.readouterr().out
    assert killed and "a worker died; the others continue its run" in out and "left" in out
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
            wait_for("*.json", store)
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


@pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="needs clr[cluster]")
def test_a_dask_scheduler_that_dies_is_named_once(store):
    def dask(name, *args):
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *args]
        return subprocess.Popen([*command, "--no-dashboard"], stderr=subprocess.PIPE, text=True)

    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", "0")
    address = next(
        m[1] for m in (re.search(r"(tcp://\S+)", line) for line in scheduler.stderr) if m
    )
    worker = dask("worker", address, "--nthreads", "1")
    try:
        process = start("--experiment", "rehearsal", "--seeds", "2", "--scheduler", address)
        wait_for("*.json", store)
        scheduler.kill()
        out, err = process.communicate(timeout=120)
    finally:
        for each in (scheduler, worker):
            each.kill()
            each.communicate()
    assert process.returncode == 2 and "FAILED" not in out
    (line,) = err.splitlines()
    assert line.startswith(f"clr sweep: the dask scheduler at {address} is gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_all_workers_and_prints_one_line(store, jobs, number):
    process = start(*LONG, "--jobs", str(jobs))
    wait_for("*.lock", store, jobs)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)  # a terminal sends it to the whole group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == ""
    listed = out.index("runs recorded\n")
    (line,) = out[listed:].splitlines()[1:]
    assert line.endswith("; the same command goes on from there")
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert not list(store.rglob("*.tmp")) and not list(store.rglob("*.lock"))


def test_a_sweep_that_was_stopped_goes_on(store, expected):
    process = start("--experiment", "rehearsal", "--seeds", "2", "--jobs", "2")
    wait_for("*.json", store)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(list(store.rglob("*.json"))) <= 4  # of 8: what was left is not begun
    assert run("--experiment", "rehearsal", "--seeds", 2) == 0
    assert histories(store) == expected
    assert {path.suffix for path in store.rglob("*") if path.is_file()} == {".json"}


def test_a_second_ctrl_c_kills_the_workers(store):
    process = start(*LONG, "--jobs", "2")
    wait_for("*.lock", store, 2)
    # not their own children, such as git, which nobody would wake up again
    workers = psutil.Process(process.pid).children()
    for each in workers:
        each.suspend()  # as if they could not end
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def train_for(seconds, workers):
    """Wait until each worker has worked for so many seconds of processor time."""

    def used(worker):
        times = worker.cpu_times()
        return times.user + times.system

    ends = {worker: used(worker) + seconds for worker in workers}
    while any(used(worker) < end for worker, end in ends.items()):
        time.sleep(0.1)


def test_workers_end_when_the_sweep_is_killed(store):
    process = start(*LONG, "--jobs", "2")
    wait_for("*.lock", store, 2)
    workers = psutil.Process(process.pid).children()
    train_for(2, workers)  # a lock alone does not say that its run has begun
    process.kill()
    process.communicate()
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert len(list(store.rglob("*.checkpoint"))) == 2  # they have saved their runs
    assert not list(store.rglob("*.json"))  # and have not begun the next ones


def test_a_worker_that_cannot_stop_is_ended(store, tmp_path):
    script = """
import pathlib, sys, time
from clr.runs import sweep
sweep.PATIENCE = 0.5

def stuck(*_, **__):
    while True:
        try:
            pathlib.Path(sys.argv[1]).touch()
            time.sleep(60)
        except KeyboardInterrupt:
            pass
    yield

sweep.work = stuck
sweep.worker()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "busy")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pickle.dump(([], Store(store), None), process.stdin)
    process.stdin.flush()
    wait_for("busy", tmp_path)
    process.stdin.close()
    assert process.wait(30) == 1
    process.stdout.close()


def test_the_workers_need_no_shared_memory(store, tmp_path):
    """A full /dev/shm ends neither a sweep nor a worker."""
    (tmp_path / "sitecustomize.py").write_text(
        "import _multiprocessing\n"
        "class Full(_multiprocessing.SemLock):\n"
        "    def __new__(cls, *_, **__):\n"
        "        raise OSError(28, 'No space left on device')\n"
        "_multiprocessing.SemLock = Full\n"
    )
    process = start(
        "--experiment", "rehearsal", "--seeds", "1", "--arms", "fixed", "triangular",
        "--jobs", "2", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == "" and "[2/2]" in out


def test_no_process_is_started_for_one_run(store, monkeypatch):
    monkeypatch.setattr(sweep, "_in_processes", None)
    for jobs in (1, 8):
        config = replace(CONFIGS[0][1], policy=Fixed(0), iterations=2, seed=jobs)
        assert sweep.run([("fixed", config)], Store.live(), jobs=jobs) == 0


def made_up(outcomes):
    """Outcomes by iterations for `sweep.attempt`; each is None, text or an error."""

    def attempt(config, store, device, progress, wait):
        found = outcomes(config, wait)
        return found and {"said": found, "seconds": 6000.0}

    return attempt


def test_what_is_left_is_estimated_from_the_finished_runs(monkeypatch, tmp_path, capsys):
    # 60 iterations a run, 6,000 s each, one at a time: 24,000 s in all
    monkeypatch.setattr(sweep, "attempt", made_up(lambda *_: "finished, 50.0 %"))
    assert sweep.run(CONFIGS, Store(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/4] fixed seed 0: finished, 50.0 % in 1.7 h; about 6.7 h left"


def test_a_run_that_learned_nothing_is_named_while_the_sweep_goes_on(store, capsys):
    config = replace(REHEARSAL.config("fixed"), policy=Fixed(0), iterations=2)
    configs = [(f"seed {seed}", replace(config, seed=seed)) for seed in range(2)]
    assert sweep.run(configs, Store.live()) == 0
    for line, (_, each) in zip(capsys.readouterr().out.splitlines(), configs, strict=True):
        run = Store.live().search(each)
        said = f": finished, {100 * run.final_accuracy:.1f} % (no better than chance) in "
        assert said in line and run.at_chance
    diverges = replace(config, policy=Fixed(1e9), model="cifar10_full", iterations=40)
    sweep.run([("fixed", diverges)], Store.live())
    assert re.search(r"\] fixed seed 0: diverged at iteration \d+ in ", capsys.readouterr().out)


def test_two_sweeps_with_three_workers_share_the_work(store, expected):
    process = start("--experiment", "rehearsal", "--seeds", "2")
    wait_for("*.lock", store)
    assert run("--experiment", "rehearsal", "--seeds", 2, "--jobs", 2) == 0
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert histories(store) == expected


def test_a_worker_leaves_locked_runs_to_others_and_waits_for_them_at_the_end(
    monkeypatch, tmp_path
):
    asked = []

    def outcomes(config, wait):
        asked.append((config.policy.name, wait))
        locked = config.policy.name in ("fixed", "triangular2") and not wait
        return None if locked else "finished, 50.0 %"

    monkeypatch.setattr(sweep, "attempt", made_up(outcomes))
    plain = [config for _, config in CONFIGS]
    ended = [number for number, _ in sweep.work(plain, Store(tmp_path), None, False)]
    assert sorted(ended) == [0, 1, 2, 3] and ended[:2] == [1, 3]
    # nothing is waited for while there is other work
    first_round = [("fixed", False), ("triangular", False), ("triangular2", False)]
    assert asked[:4] == [*first_round, ("exp_range", False)]
    assert asked[4:7] == [("fixed", False), ("triangular2", False), ("fixed", True)]


def test_failures_are_counted_once_and_the_other_runs_go_on(monkeypatch, tmp_path, capsys):
    def fails(self, config, **_):
        if config.policy.name == "fixed":
            raise RuntimeError("x" * 10_000)
        raise sweep.Locked if "once" not in seen else MemoryError("no memory")

    seen = {"once"}
    monkeypatch.setattr(Store, "train", fails)
    assert sweep.run(CONFIGS, Store(tmp_path)) == len(CONFIGS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CONFIGS) and max(map(len, lines)) < 600
    assert lines[0].startswith("fixed seed 0: FAILED, RuntimeError: xxx")
    # two workers fail, a third one does not
    outcomes = [{"failed": "a"}, {"failed": "a"}, {"said": "ok", "seconds": 1.0}]
    assert sweep._report(CONFIGS, [(0, each) for each in outcomes], 2) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "all workers died; 3 runs are left"


def test_workers_share_the_cores_or_do_as_omp_num_threads_says(monkeypatch):
    for said, jobs, threads in ((None, 2, 3), (None, 8, 1), ("2", 8, 2), ("4,2", 8, 4)):
        monkeypatch.setattr(sweep.torch, "get_num_threads", lambda: 6)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert sweep.threads(jobs) == threads
