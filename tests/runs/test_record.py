import json

import pandas as pd
import pytest

from clr.policies import Triangular
from clr.runs import Store, names, record, run_name
from clr.runs.store import RECORDED
from clr.training import RunConfig, Training, load

CONFIG = RunConfig(
    Triangular(0.01, 0.1, 5), 20, model="resnet8", weight_decay=1e-4, test_every=10
)
DIGITS = load("digits")
NAME = run_name(CONFIG, DIGITS.fingerprint)


def other(**values):
    return RunConfig.from_dict(CONFIG.to_dict() | values)


def test_a_record_carries_its_final_accuracy(store):
    run = Store.usual().train(CONFIG)
    values = json.loads(run.path.read_text())
    assert values["final_accuracy"] == run.history["test_accuracy"].iloc[-1]
    assert values["final_accuracy"] == run.final_accuracy
    path = run.path
    path.write_text(json.dumps(values | {"final_accuracy": values["final_accuracy"] - 1e-9}))
    with pytest.raises(ValueError, match="final_accuracy is .*, but its CSV ends with"):
        record.load(path)
    del values["final_accuracy"]  # as in records made before it was added
    path.write_text(json.dumps(values))
    assert record.load(path).final_accuracy == run.final_accuracy


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
    assert "/home" not in json.dumps(names.describe(a))


@pytest.mark.parametrize("key", ["ended", "data", "provenance", "history_sha256"])
def test_a_record_that_lacks_something_is_named(store, key):
    path = Store.usual().train(CONFIG).path
    values = json.loads(path.read_text())
    del values[key]
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"{path.name} cannot be used: it has no '{key}'"):
        record.load(path)
    assert Store.usual().search(CONFIG) is None


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda p: p.stem)
def test_committed_records_are_whole_and_under_their_own_name(path):
    run = record.load(path)
    assert path.stem == run_name(run.config, run.data["fingerprint"])
    assert run.provenance["commit"] and not run.provenance["commit"].endswith("+")
    if run.config.dataset == "digits":
        assert run.data["fingerprint"] == DIGITS.fingerprint


def test_a_committed_record_can_be_repeated():
    path = next(RECORDED.glob("digits-cifar10_full-triangular-seed0-*.json"))
    recorded = record.load(path)
    training = Training(recorded.config, load("digits"))
    training.record()
    while training.iteration < 100:
        training.step()
        if training.iteration % recorded.config.test_every == 0:
            training.record()
    ours, theirs = training.history, recorded.history[: len(training.rows)]
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3)
