import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from clr import files, runs
from clr.policies import Fixed, Triangular
from clr.runs import load_or_train, run_name
from clr.training import RunConfig, Training, datasets

CONFIG = RunConfig(
    Triangular(0.01, 0.1, 5), 20, model="resnet8", weight_decay=1e-4, test_every=10
)
DIGITS = datasets.load("digits")
NAME = run_name(CONFIG, DIGITS.fingerprint)


def other(**values):
    return RunConfig.from_dict(CONFIG.to_dict() | values)


def test_a_run_is_trained_once_and_found_again(store, monkeypatch):
    first = load_or_train(CONFIG)
    assert sorted(p.name for p in store.iterdir()) == [f"{NAME}.csv", f"{NAME}.json"]
    monkeypatch.setattr(Training, "run", None)  # training again would fail
    again = load_or_train(CONFIG)
    assert again.config == CONFIG and again.ended == "finished"
    pd.testing.assert_frame_equal(again.history, first.history, check_exact=True)
    assert again.final_accuracy == first.history["test_accuracy"].iloc[-1]


def test_a_folder_of_its_own_is_looked_in(store, tmp_path, monkeypatch):
    first = load_or_train(CONFIG, folder=tmp_path / "own")
    assert first.path == tmp_path / "own" / f"{NAME}.json" and not store.exists()
    monkeypatch.setattr(Training, "run", None)
    assert load_or_train(CONFIG, folder=tmp_path / "own").path == first.path


def test_the_record_is_the_training(store):
    expected = Training(CONFIG, DIGITS).run().history
    assert load_or_train(CONFIG).history.equals(expected)


def test_provenance(store):
    block = load_or_train(CONFIG).provenance
    assert block["torch"] == torch.__version__ and block["threads"] == torch.get_num_threads()
    assert set(block) == {
        "seconds", "device", "threads", "python", "torch", "numpy", "commit", "written",
    }  # fmt: skip
    record = json.loads((store / f"{NAME}.json").read_text())
    assert record["data"]["fingerprint"] == DIGITS.fingerprint
    assert str(store) not in json.dumps(record)


def test_the_name_is_a_matter_of_config_and_data_alone():
    assert run_name(other(), DIGITS.fingerprint) == NAME
    assert NAME.startswith("digits-resnet8-triangular-seed0-")
    names = {
        run_name(other(), "0" * 64),
        run_name(other(seed=1), DIGITS.fingerprint),
        run_name(other(iterations=21), DIGITS.fingerprint),
        run_name(other(policy=Triangular(0.01, 0.1, 6).to_dict()), DIGITS.fingerprint),
    }
    assert len(names | {NAME}) == 5


def test_an_image_folders_path_is_not_in_the_record():
    a, b = other(dataset="folder:/home/me/x"), other(dataset="folder:/data/x")
    assert run_name(a, "f" * 64) == run_name(b, "f" * 64)
    assert "/home" not in json.dumps(runs.describe(a))


def test_live_leaves_out_the_committed_records(store, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RECORDED", tmp_path / "recorded")
    training = Training(CONFIG, DIGITS).run()
    runs.save(training, runs.RECORDED, 1.0)
    assert load_or_train(CONFIG).path.parent == runs.RECORDED and not store.exists()
    assert load_or_train(CONFIG, live=True).path.parent == store


def test_an_interrupted_run_goes_on_and_ends_bit_identical(store, monkeypatch):
    expected = Training(CONFIG, DIGITS).run()
    step, taken = Training.step, []

    def dies(self):
        step(self)
        taken.append(1)
        if len(taken) == 13:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        load_or_train(CONFIG, checkpoint_seconds=0)
    left = {f"{NAME}.checkpoint", f"{NAME}.checkpoint.before"}
    assert {p.name for p in store.iterdir()} == left
    run = load_or_train(CONFIG)
    assert len(taken) == 13 + 8  # the 13th step was taken, but not yet saved
    assert run.history.equals(expected.history)
    assert sorted(p.name for p in store.iterdir()) == [f"{NAME}.csv", f"{NAME}.json"]


def damage_csv(store):
    text = (store / f"{NAME}.csv").read_text()
    (store / f"{NAME}.csv").write_text(text.replace("0.", "1.", 1))


def damage_json(store):
    (store / f"{NAME}.json").write_text("{")


def lose_csv(store):
    (store / f"{NAME}.csv").unlink()


def swap(store):
    load_or_train(other(seed=1))
    name = run_name(other(seed=1), DIGITS.fingerprint)
    for suffix in (".csv", ".json"):
        (store / f"{NAME}{suffix}").write_bytes((store / f"{name}{suffix}").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage_csv, "does not have the recorded checksum"),
        (damage_json, "cannot be used"),
        (lose_csv, "cannot be used"),
        (swap, "is of another config"),
    ],
)
def test_a_record_that_is_not_what_it_should_be_is_never_used(store, spoil, says):
    first = load_or_train(CONFIG)
    spoil(store)
    with pytest.warns(UserWarning, match=says):
        again = load_or_train(CONFIG)
    assert again.history.equals(first.history) and again.config == CONFIG


def test_a_record_or_checkpoint_from_a_newer_version_is_left_alone(store):
    load_or_train(CONFIG)
    path = store / f"{NAME}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    before = path.read_bytes()
    with pytest.raises(runs.NewerFormat, match="has format 99, .* Update the package"):
        load_or_train(CONFIG)
    assert path.read_bytes() == before
    path.unlink()
    content = io.BytesIO()
    torch.save({"format": 99, "training": {}, "seconds": 1.0}, content)
    files.write_sealed(store / f"{NAME}.checkpoint", content.getvalue())
    with pytest.raises(runs.NewerFormat, match="checkpoint has format 99"):
        load_or_train(CONFIG)
    assert (store / f"{NAME}.checkpoint").exists()


LONG = other(iterations=150, test_every=15)
SCRIPT = f"""
import sys
from clr import runs
from clr.training import RunConfig
config = RunConfig.from_dict({LONG.to_dict()!r})
print("ready", flush=True)
run = runs.load_or_train(config, checkpoint_seconds=0.05)
print("trained" if run.provenance["seconds"] else "", flush=True)
"""


def start():
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )


def checkpointed(process, store):
    """Wait for the process's next checkpoint; True if there was one before its end."""
    path = next(iter(store.glob("*.checkpoint")), None) if store.exists() else None
    before = path.stat().st_mtime_ns if path else 0
    while process.poll() is None:
        for path in store.glob("*.checkpoint") if store.exists() else ():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns > before:
                    return True
        time.sleep(0.01)
    return False


def test_a_run_killed_again_and_again_ends_bit_identical(store):
    expected = Training(LONG, DIGITS).run().history
    for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = start()
        assert checkpointed(process, store)
        process.send_signal(kill)
        out, _ = process.communicate(timeout=30)
        assert process.returncode != 0
        if kill != signal.SIGKILL:
            assert "stopped at iteration" in out and "goes on from there" in out
    assert load_or_train(LONG).history.equals(expected)
    assert {path.suffix for path in store.iterdir()} == {".csv", ".json"}


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(store, damage):
    expected = Training(LONG, DIGITS).run().history
    process = start()
    assert checkpointed(process, store) and checkpointed(process, store)
    process.kill()
    process.communicate()
    (path,) = store.glob("*.checkpoint")
    content = bytearray(path.read_bytes())
    content[-1000] ^= 255
    path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    taken, step = [], Training.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "step", lambda self: (taken.append(1), step(self)))
        with pytest.warns(UserWarning, match="is damaged; the one before it is used"):
            assert load_or_train(LONG).history.equals(expected)
    assert 0 < len(taken) < LONG.iterations


def test_processes_share_a_store_and_train_each_run_once(store):
    processes = [start() for _ in range(3)]
    outs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum("waiting for it" in out for out in outs) == 2
    assert {path.suffix for path in store.iterdir()} == {".csv", ".json"}
    assert load_or_train(LONG).history.equals(Training(LONG, DIGITS).run().history)


def test_a_dead_process_loses_its_claim(store):
    process = start()
    assert checkpointed(process, store)
    path = store / run_name(LONG, DIGITS.fingerprint)
    with pytest.raises(files.Claimed, match="another process is training"):
        load_or_train(LONG, wait=False)
    process.kill()
    process.communicate()
    with files.claim(path, wait=False):
        pass


def test_nothing_half_written_stays_after_ctrl_c(tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "run.json", b"{}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["ended", "data", "provenance", "history_sha256"])
def test_a_record_that_lacks_something_is_named(store, key):
    path = load_or_train(CONFIG).path
    record = json.loads(path.read_text())
    del record[key]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"{path.name} cannot be used: it has no '{key}'"):
        runs.load(path)
    assert runs.recorded(CONFIG) is None


def test_ctrl_c_waits_until_a_file_is_whole(tmp_path, monkeypatch):
    fsync = os.fsync

    def disturbed(file):
        signal.raise_signal(signal.SIGINT)
        fsync(file)

    monkeypatch.setattr(files.os, "fsync", disturbed)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "run.json", b"{}")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"{}"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_claim_removes_what_a_killed_process_was_writing(tmp_path):
    for name in (".run.json.123.tmp", ".run.claim.123.tmp", ".run2.json.123.tmp", "run.csv"):
        (tmp_path / name).touch()
    with files.claim(tmp_path / "run"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".run2.json.123.tmp", "run.csv"}


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(store, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_sealed", full)
    with pytest.warns(UserWarning, match="no checkpoint: .*No space left"):
        assert load_or_train(CONFIG, checkpoint_seconds=0).ended == "finished"


def test_when_the_record_cannot_be_written_no_step_is_lost(store, monkeypatch):
    def full(training, folder, seconds):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save", full)
        with pytest.raises(OSError, match="No space left"):
            load_or_train(CONFIG)
    monkeypatch.setattr(Training, "step", None)  # training again would fail
    assert load_or_train(CONFIG).ended == "finished"


def test_a_diverged_run_is_a_result(store):
    config = other(policy=Fixed(1e9).to_dict(), model="cifar10_full")
    run = load_or_train(config)
    assert run.ended.startswith("diverged at iteration ")
    assert load_or_train(config).ended == run.ended


def test_a_full_disk_leaves_nothing_half_written(store):
    script = f"""
import resource, signal
from clr import runs
from clr.training import RunConfig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = RunConfig.from_dict({CONFIG.to_dict()!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
runs.load_or_train(config)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not write" in done.stderr and "CLR_RUNS" in done.stderr
    assert list(store.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


def test_a_store_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(OSError, match="could not write .*CLR_RUNS names another folder"):
        load_or_train(CONFIG)


@pytest.mark.parametrize("path", sorted(runs.RECORDED.glob("*.json")), ids=lambda p: p.stem)
def test_committed_records_are_whole_and_under_their_own_name(path):
    run = runs.load(path)
    record = json.loads(path.read_text())
    assert path.stem == run_name(run.config, record["data"]["fingerprint"])
    assert record["provenance"]["commit"] and not record["provenance"]["commit"].endswith("+")
    assert run.config.source.name == run.data["name"]
    if run.config.dataset == "digits":
        assert record["data"]["fingerprint"] == DIGITS.fingerprint


def test_a_committed_record_can_be_repeated():
    path = next(runs.RECORDED.glob("digits-cifar10_full-triangular-seed0-*.json"))
    recorded = runs.load(path)
    training = Training(recorded.config, datasets.load("digits"))
    training.record()
    while training.iteration < 100:
        training.step()
        if training.iteration % recorded.config.test_every == 0:
            training.record()
    ours, theirs = training.history, recorded.history[: len(training.rows)]
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3)
