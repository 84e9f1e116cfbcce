import json
import resource
import subprocess
import sys

import pandas as pd
import pytest
import torch

from clr import data, runs
from clr.policies import Fixed, Triangular
from clr.runs import load_or_train, run_name
from clr.training import RunConfig, Training

CONFIG = RunConfig(
    Triangular(0.01, 0.1, 5), 20, model="resnet8", weight_decay=1e-4, test_every=10
)
DIGITS = data.load("digits")
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
    assert [p.name for p in store.iterdir()] == [f"{NAME}.checkpoint"]
    run = load_or_train(CONFIG)
    assert len(taken) == 13 + 8  # the 13th step was taken, but not yet saved
    assert run.history.equals(expected.history)
    assert not (store / f"{NAME}.checkpoint").exists()


def damage_csv(store):
    text = (store / f"{NAME}.csv").read_text()
    (store / f"{NAME}.csv").write_text(text.replace("0.", "1.", 1))


def damage_json(store):
    (store / f"{NAME}.json").write_text("{")


def from_the_future(store):
    record = json.loads((store / f"{NAME}.json").read_text())
    (store / f"{NAME}.json").write_text(json.dumps(record | {"format": 99}))


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
        (from_the_future, "format 99, this package reads up to 1"),
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
    assert f"could not write {NAME}.csv" in done.stderr and "CLR_RUNS" in done.stderr
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
    if run.config.dataset == "digits":
        assert record["data"]["fingerprint"] == DIGITS.fingerprint


def test_a_committed_record_can_be_repeated():
    path = next(runs.RECORDED.glob("digits-cifar10_full-triangular-seed0-*.json"))
    recorded = runs.load(path)
    training = Training(recorded.config, data.load("digits"))
    training.record()
    while training.iteration < 100:
        training.step()
        if training.iteration % recorded.config.test_every == 0:
            training.record()
    ours, theirs = training.history, recorded.history[: len(training.rows)]
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3)
