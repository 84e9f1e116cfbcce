import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from made import rewrite

from clr.paths import RECORDED
from clr.policies import Triangular
from clr.runs import Run, Store, record, run_name
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
    with pytest.raises(ValueError, match="final_accuracy is not that of the last row"):
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
        history = {"iteration": np.array([20]), "test_accuracy": np.array([accuracy])}
        run = Run(other(dataset=dataset), history, "finished", data, {}, None)
        return run.at_chance, run.outcome

    for accuracy in (0, highest / 2, highest - 1e-4):
        assert made(accuracy) == (True, f"{100 * accuracy:.1f} % (no better than chance)")
    for accuracy in (highest + 1e-4, 1.0):
        assert made(accuracy) == (False, f"{100 * accuracy:.1f} %")


def test_without_the_number_of_classes_nothing_is_called_chance():
    history = {"iteration": np.array([20]), "test_accuracy": np.array([0.0])}
    run = Run(other(dataset="folder:x"), history, "finished", {"test": 400}, {}, None)
    assert run.outcome == "0.0 %" and not run.at_chance


def test_a_record_says_how_many_classes_its_data_has(store):
    assert Store.usual().train(CONFIG).data["classes"] == 10


def test_validation_accuracies_are_recorded_and_checked(store):
    run = Store.usual().train(other(validation_images=400))
    assert list(run.history.columns) == [*COLUMNS, VALIDATION]
    rewrite(run.path, run.history.assign(**{VALIDATION: 1.5}))
    with pytest.raises(ValueError, match="validation_accuracy must be a fraction"):
        record.load(run.path)
    rewrite(run.path, run.history[COLUMNS])
    with pytest.raises(ValueError, match="must have the columns .*validation_accuracy"):
        record.load(run.path)


def test_other_columns_are_recorded_and_checked(store, monkeypatch):
    """The columns are those that `clr.training.columns` names, whatever they are."""
    path = Store.usual().train(CONFIG).path
    history = record.load(path).history
    for more in (["second_test_loss", "second_test_accuracy"], ["perplexity"]):
        monkeypatch.setattr(record, "columns", lambda _, more=more: [*COLUMNS, *more])
        rewrite(path, history.assign(**dict.fromkeys(more, 0.25)))
        assert list(record.load(path).history.columns) == [*COLUMNS, *more]
    monkeypatch.setattr(record, "columns", lambda _: [*COLUMNS, "second_test_accuracy"])
    rewrite(path, history.assign(second_test_accuracy=2.0))
    with pytest.raises(ValueError, match="second_test_accuracy must be a fraction"):
        record.load(path)
    monkeypatch.setattr(record, "columns", lambda _: COLUMNS[:-1])  # as of a text
    rewrite(path, history[COLUMNS[:-1]])
    run = record.load(path)
    assert run.outcome == f"test loss {run.history['test_loss'].iloc[-1]:.3f}"


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
    assert "/home" not in json.dumps(record.recorded(a))


@pytest.mark.parametrize("key", ["ended", "data", "provenance", "history_sha256"])
def test_a_record_that_lacks_something_is_named(store, key):
    path = Store.usual().train(CONFIG).path
    values = json.loads(path.read_text())
    del values[key]
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"{path.name} cannot be used: it has no '{key}'"):
        record.load(path)
    with pytest.warns(UserWarning, match="it is left out"):
        assert Store.usual().search(CONFIG) is None


COMMITTED = sorted(RECORDED.rglob("*.json"))


def test_the_records_that_were_two_files_are_all_there():
    """The 589 records of commit a429e39: their names, and the checksums of their histories."""
    found = []
    for path in COMMITTED:
        values = json.loads(path.read_text())
        if values["provenance"]["written"] <= "2026-11-26T17:50:58+00:00":  # the last of them
            found.append(f"{path.stem} {values['history_sha256']}\n")
    digest = hashlib.sha256("".join(sorted(found)).encode()).hexdigest()
    assert (len(found), digest[:16]) == (589, "c14f2b339d8afc49")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_records_are_whole_and_under_their_own_name(path):
    run, values = record.load(path), json.loads(path.read_text())
    assert path.stem == run_name(run.config, run.data["fingerprint"])
    assert path == record.place(RECORDED, run.data["name"], run.config.model, path.stem)
    assert path.read_bytes() == record.as_json(values)
    assert record.as_csv(run.history).splitlines() == values["history"]
    assert run.provenance["commit"] and not run.provenance["commit"].endswith("+")
    if run.config.dataset == "digits":
        assert run.data["fingerprint"] == DIGITS.fingerprint


def test_a_committed_record_can_be_repeated():
    path = next(RECORDED.rglob("digits-cifar10_full-triangular-seed0-*.json"))
    recorded = record.load(path)
    training = Training(recorded.config, load("digits"))
    training.record()
    while training.iteration < 100:
        training.step()
        if training.iteration % recorded.config.test_every == 0:
            training.record()
    ours, theirs = training.history, recorded.history[: len(training.rows)]
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3)
