import hashlib
import json

import pandas as pd
import pytest

from clr.policies import Triangular
from clr.runs import Run, Store, names, record, run_name
from clr.runs.store import RECORDED
from clr.training import COLUMNS, VALIDATION, RunConfig, Training, load

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


@pytest.mark.parametrize(
    ("dataset", "data", "highest"),
    [
        # 1 / classes + 2 * sqrt(1 / classes * (1 - 1 / classes) / test images), by hand
        ("digits", {"test": 359}, 0.1 + 2 * 0.3 / 359**0.5),
        ("mnist", {"test": 10_000}, 0.106),
        ("cifar10", {"test": 10_000}, 0.106),
        ("cifar100", {"test": 10_000}, 0.01 + 2 * 0.0995 / 100),
        ("folder:x", {"test": 400, "classes": 2}, 0.55),
    ],
)
def test_a_run_is_at_chance_up_to_two_standard_errors(dataset, data, highest):
    def made(accuracy):
        table = pd.DataFrame([[20, 0.1, 1.0, 1.0, accuracy]], columns=COLUMNS)
        run = Run(other(dataset=dataset), table, "finished", data, {}, None)
        return run.at_chance, run.outcome

    for accuracy in (0, highest / 2, highest - 1e-4):
        assert made(accuracy) == (True, f"{100 * accuracy:.1f} % (no better than chance)")
    for accuracy in (highest + 1e-4, 1.0):
        assert made(accuracy) == (False, f"{100 * accuracy:.1f} %")


def test_without_the_number_of_classes_nothing_is_called_chance():
    table = pd.DataFrame([[20, 0.1, 1.0, 1.0, 0.0]], columns=COLUMNS)
    run = Run(other(dataset="folder:x"), table, "finished", {"test": 400}, {}, None)
    assert run.outcome == "0.0 %" and not run.at_chance


def test_a_record_says_how_many_classes_its_data_has(store):
    assert Store.usual().train(CONFIG).data["classes"] == 10


def test_validation_accuracies_are_recorded_and_checked(store):
    run = Store.usual().train(other(validation_images=400))
    assert list(run.history.columns) == [*COLUMNS, VALIDATION]
    table = run.path.with_suffix(".csv")
    text = table.read_text().splitlines()
    text[-1] = text[-1].rpartition(",")[0] + ",1.5"
    values = json.loads(run.path.read_text())
    table.write_text("\n".join(text) + "\n")
    values["history_sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    run.path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="validation_accuracy must be a fraction"):
        record.load(run.path)
    text = [line.rpartition(",")[0] for line in text]  # without that column
    table.write_text("\n".join(text) + "\n")
    values["history_sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    run.path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="must have the columns .*validation_accuracy"):
        record.load(run.path)


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
