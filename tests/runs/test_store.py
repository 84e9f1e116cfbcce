import contextlib
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from clr import files
from clr.policies import Fixed, Triangular
from clr.runs import NewerFormat, Store, record, run_name
from clr.runs import store as stores
from clr.training import RunConfig, Training, load

CONFIG = RunConfig(
    Triangular(0.01, 0.1, 5), 20, model="resnet8", weight_decay=1e-4, test_every=10
)
DIGITS = load("digits")
NAME = run_name(CONFIG, DIGITS.fingerprint)
FOLDER = Path("digits", "resnet8")  # of CONFIG's record in a store


def other(**values):
    return RunConfig.from_dict(CONFIG.to_dict() | values)


def train(config, **options):
    return Store.usual().train(config, **options)


def there(store):
    """The names of all files in a store."""
    return sorted(path.name for path in store.rglob("*") if path.is_file())


def test_a_run_is_trained_once_and_found_again(store, monkeypatch):
    first = train(CONFIG)
    assert there(store) == [f"{NAME}.json"]
    monkeypatch.setattr(Training, "run", None)  # training again would fail
    again = train(CONFIG)
    assert again.config == CONFIG and again.ended == "finished"
    pd.testing.assert_frame_equal(again.history, first.history, check_exact=True)
    assert again.final_accuracy == first.history["test_accuracy"].iloc[-1]


def test_a_folder_of_its_own_is_looked_in(store, tmp_path, monkeypatch):
    own = Store(tmp_path / "own", (tmp_path / "more",))
    first = own.train(CONFIG)
    assert first.path == tmp_path / "own" / FOLDER / f"{NAME}.json" and not store.exists()
    monkeypatch.setattr(Training, "run", None)
    assert own.train(CONFIG).path == first.path
    beside = Store(tmp_path / "other", (tmp_path / "own",))
    assert (
        beside.train(CONFIG).path == beside.get(CONFIG, DIGITS.fingerprint).path == first.path
    )
    assert Store(tmp_path / "other").get(CONFIG, DIGITS.fingerprint) is None


def test_the_record_is_the_training(store):
    expected = Training(CONFIG, DIGITS).run().history
    assert train(CONFIG).history.equals(expected)


def test_live_leaves_out_the_committed_records(store, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "RECORDED", tmp_path / "recorded")
    record.save(Training(CONFIG, DIGITS).run(), tmp_path / "recorded", 1.0, None)
    assert train(CONFIG).path.parent == tmp_path / "recorded" / FOLDER and not store.exists()
    assert Store.committed().train(CONFIG).path.parent == tmp_path / "recorded" / FOLDER
    assert Store.live().train(CONFIG).path.parent == store / FOLDER


def test_a_search_checks_the_records_that_it_wants_and_no_other(store, monkeypatch):
    values = json.loads(train(CONFIG).path.read_bytes())
    values["data"]["fingerprint"] = "0" * 64
    of_other_settings = run_name(other(batch_size=50), "0" * 64)  # same policy and seed
    (store / FOLDER / f"{of_other_settings}.json").write_bytes(record.as_json(values))
    checked, check = [], record.check
    monkeypatch.setattr(
        record, "check", lambda name, values: checked.append(name) or check(name, values)
    )
    record._checked.cache_clear()
    assert list(Store.usual().by_data(CONFIG)) == ["digits"] and checked == [NAME]


def test_records_are_searched_without_the_data(store):
    usual, seed = Store.usual(), other(seed=7)
    assert usual.search(seed) is None
    first = train(seed)
    assert usual.search(seed).path == first.path  # it has come since
    assert usual.search(other(seed=8)) is None
    assert usual.search(other(seed=7, iterations=21)) is None
    elsewhere = other(seed=7, dataset="mnist")
    assert usual.search(elsewhere) is None
    assert usual.by_data(elsewhere)["digits"].path == first.path
    assert list(usual.by_data(elsewhere)) == ["digits"] and usual.by_data(other(seed=8)) == {}
    whole = first.path.read_text()
    spoiled = json.loads(whole) | {"data": []}
    (store / FOLDER / f"{first.path.stem}0.json").write_text(json.dumps(spoiled))
    (store / FOLDER / f"{first.path.stem}1.json").write_text("[" * 200_000)
    with pytest.warns(UserWarning, match="cannot be used: .*; it is left out") as warned:
        assert list(usual.by_data(elsewhere)) == ["digits"]
    assert len(warned) == 2
    for extra in "01":
        (store / FOLDER / f"{first.path.stem}{extra}.json").unlink()
    first.path.write_text("{")
    with pytest.warns(UserWarning, match="cannot be used: .*; it is left out"):
        assert usual.search(seed) is None
    first.path.write_text(whole)
    assert usual.search(seed).path == first.path  # it has been repaired since
    first.path.write_text(whole.replace("0.", "1.", 1))
    with pytest.warns(UserWarning, match="it is left out"):
        assert usual.search(seed) is None


def test_a_record_is_read_once_until_it_changes(store, monkeypatch):
    path, read = train(CONFIG).path, []
    loads = json.loads
    monkeypatch.setattr(
        record.json, "loads", lambda content: (read.append(1), loads(content))[1]
    )
    long_ago = time.time() - 60  # a folder that has just changed is listed each time
    os.utime(path.parent, (long_ago, long_ago))
    for _ in range(3):
        for config in (CONFIG, other(seed=1), other(dataset="mnist")):
            assert list(Store(store).by_data(config)) == ["digits"] * (config.seed == 0)
    assert Store(store).search(CONFIG).history is not Store(store).search(CONFIG).history
    assert len(read) <= 1
    path.write_text(path.read_text().replace('"finished"', '"diverged at iteration 20"'))
    assert Store(store).search(CONFIG).diverged and len(read) <= 2


def test_other_data_than_the_configs_is_refused_before_training(store):
    with pytest.raises(ValueError, match="data must be digits, .*; got mnist"):
        train(CONFIG, data=replace(DIGITS, name="mnist"))
    assert not store.exists()


def test_every_committed_record_is_found_by_its_config():
    committed = Store.committed()
    for path in sorted(stores.RECORDED.rglob("*.json")):
        run = record.load(path)
        assert committed.get(run.config, run.data["fingerprint"]).path == path
        assert committed.search(run.config).config == run.config


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
        train(CONFIG, checkpoint_seconds=0)
    assert there(store) == [f"{NAME}.checkpoint"]
    run = train(CONFIG)
    assert len(taken) == 13 + 8  # the 13th step was taken, but not yet saved
    assert run.history.equals(expected.history)
    assert there(store) == [f"{NAME}.json"]


def interrupted(config, monkeypatch, **how):
    """Train until step 7 and leave a checkpoint."""
    step = Training.step

    def dies(self):
        step(self)
        if self.iteration == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "step", dies)
        train(config, checkpoint_seconds=0, **how)


def test_a_record_names_every_commit_that_trained_it(store, monkeypatch):
    monkeypatch.setattr(stores.provenance, "commit", lambda: "aaaa")
    interrupted(CONFIG, monkeypatch)
    monkeypatch.setattr(stores.provenance, "commit", lambda: "bbbb")
    interrupted(CONFIG, monkeypatch)  # at the same step: it begins from the sixth
    assert train(CONFIG).provenance["commit"] == "aaaa, bbbb"


def test_a_folder_of_images_may_be_moved_before_a_run_goes_on(store, tmp_path, monkeypatch):
    from test_data import folder

    some = folder(tmp_path / "some", ("RGB",) * 5, ((8, 8),) * 5)
    interrupted(other(dataset=f"folder:{some}", batch_size=5), monkeypatch)
    (tmp_path / "else").mkdir()
    moved = some.rename(tmp_path / "else" / "some")
    taken, step = [], Training.step
    monkeypatch.setattr(Training, "step", lambda self: (taken.append(1), step(self)))
    config = other(dataset=f"folder:{moved}", batch_size=5)
    assert train(config).ended == "finished" and len(taken) == config.iterations - 6


def damage_history(path):
    path.write_text(path.read_text().replace('"10,0.', '"10,1.', 1))


def damage_json(path):
    path.write_text("{")


def swap(path):
    path.write_bytes(train(other(seed=1)).path.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage_history, "does not have the recorded checksum"),
        (damage_json, "cannot be used"),
        (swap, "it has another config or other data than its name says"),
    ],
)
def test_a_record_that_is_not_what_it_should_be_is_never_used(store, spoil, says):
    first = train(CONFIG)
    spoil(first.path)
    with pytest.warns(UserWarning, match=says):
        again = train(CONFIG)
    assert again.history.equals(first.history) and again.config == CONFIG


def test_a_record_or_checkpoint_from_a_newer_version_is_left_alone(store):
    train(CONFIG)
    path = store / FOLDER / f"{NAME}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    before = path.read_bytes()
    with pytest.raises(NewerFormat, match="has format 99, .* Update the package"):
        train(CONFIG)
    assert path.read_bytes() == before
    path.unlink()
    checkpoint = path.with_suffix(".checkpoint")
    seal(checkpoint, {"format": 99, "training": {}, "seconds": 1.0})
    before = checkpoint.read_bytes()
    with pytest.raises(NewerFormat, match="checkpoint has format 99"):
        train(CONFIG)
    assert checkpoint.read_bytes() == before


def seal(checkpoint, values):
    """Write a checkpoint with the right checksum."""
    content = io.BytesIO()
    torch.save(values, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    checkpoint.write_bytes(digest.encode() + b"\n" + content.getvalue())


def unseal(checkpoint):
    return torch.load(io.BytesIO(checkpoint.read_bytes()[65:]), weights_only=True)


SLOW = ["sklearn", "scipy", "matplotlib", "torchvision", "torch._dynamo"]  # to import
LONG = other(iterations=150, test_every=15)
SCRIPT = f"""
import sys
from clr.runs import Store
from clr.training import RunConfig
config = RunConfig.from_dict({LONG.to_dict()!r})
print("ready", flush=True)
run = Store.usual().train(config, checkpoint_seconds=0.05)
print("imported", [name for name in {SLOW} if name in sys.modules], flush=True)
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
    path = next(iter(store.rglob("*.checkpoint")), None)
    before = path.stat().st_mtime_ns if path else 0
    while process.poll() is None:
        for path in store.rglob("*.checkpoint"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns > before:
                    return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def expected():
    """The history of LONG, trained without an interruption."""
    return Training(LONG, DIGITS).run().history


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(the store of a process killed after its second checkpoint, what it said of its lock)."""
    folder = tmp_path_factory.mktemp("killed") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLR_RUNS", str(folder))
        process = start()
        assert checkpointed(process, folder) and checkpointed(process, folder)
        with pytest.raises(stores.Locked) as refused:
            train(LONG, wait=False)
    process.kill()
    process.communicate()
    return folder, str(refused.value)


def test_a_run_killed_again_and_again_ends_bit_identical(store, killed, expected):
    shutil.copytree(killed[0], store)
    for kill in (signal.SIGTERM, signal.SIGINT):
        process = start()
        assert checkpointed(process, store)
        process.send_signal(kill)
        out, _ = process.communicate(timeout=30)
        assert process.returncode != 0
        assert "stopped at iteration" in out and "goes on from there" in out
    assert train(LONG).history.equals(expected)
    assert {Path(name).suffix for name in there(store)} == {".json"}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(a store with a checkpoint of CONFIG at iteration 6, the whole history of CONFIG)."""
    folder = tmp_path_factory.mktemp("stopped") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLR_RUNS", str(folder))
        interrupted(CONFIG, patch)
    return folder, Training(CONFIG, DIGITS).run().history


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 255
    path.write_bytes(content)


def change(*keys, to):
    """A change of a checkpoint whose checksum is right; `to` makes the new value of the old."""

    def spoil(path):
        values = unseal(path)
        *parents, last = keys
        holder = values
        for key in parents:
            holder = holder[key]
        holder[last] = to(holder[last])
        seal(path, values)

    return spoil


def lose(*keys):
    def spoil(path):
        values = unseal(path)
        *parents, last = keys
        holder = values
        for key in parents:
            holder = holder[key]
        del holder[last]
        seal(path, values)

    return spoil


SPOILT = {
    "truncated": (truncate, "it is damaged"),
    "a bit flipped": (flip, "it is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "it is damaged"),
    "another run": (
        change("training", "config", to=lambda c: c | {"seed": 1}),
        "is of another run",
    ),
    "a weight of another shape": (
        change("training", "model", to=lambda m: {k: v[None] for k, v in m.items()}),
        "size mismatch|shape",
    ),
    "no weights": (lose("training", "model"), "model"),
    "no batches": (lose("training", "batches"), "batches"),
    "no rows": (change("training", "rows", to=lambda rows: []), "does not fit iteration"),
    "a row too many": (
        change("training", "rows", to=lambda rows: [*rows, rows[-1]]),
        "does not fit iteration",
    ),
    "a cell too few": (
        change("training", "rows", to=lambda rows: [row[:-1] for row in rows]),
        "does not fit iteration",
    ),
    "past the end": (
        change("training", "batches", to=lambda b: b | {"iteration": 10**6}),
        "does not fit iteration 1000000 of 20",
    ),
    "before the start": (
        change("training", "batches", to=lambda b: b | {"iteration": -1}),
        "iteration",
    ),
    "losses missing": (
        change("training", "losses", to=lambda losses: torch.ones(99)),
        "does not fit iteration",
    ),
    "finished too early": (
        change("training", "ended", to=lambda ended: "finished"),
        "does not fit iteration",
    ),
    "rates of another iteration": (
        change("training", "scheduler", to=lambda s: s | {"iteration": 2}),
        "does not fit iteration",
    ),
    "no seconds": (lose("seconds"), "seconds"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_checkpoint_that_is_damaged_or_does_not_fit_is_named_and_the_run_starts_again(
    store, stopped, case
):
    shutil.copytree(stopped[0], store)
    (path,) = store.rglob("*.checkpoint")
    spoil, says = SPOILT[case]
    spoil(path)
    with pytest.warns(UserWarning) as warned:
        assert train(CONFIG).history.equals(stopped[1])
    (said,) = [str(each.message) for each in warned]
    assert said.startswith(f"{path} cannot be continued: ") and re.search(says, said)
    assert said.endswith("the run starts again from the start")
    assert there(store) == [f"{path.stem}.json"]


def test_a_checkpoint_is_kept_when_there_is_no_memory_for_it(store, stopped, monkeypatch):
    shutil.copytree(stopped[0], store)
    (path,) = store.rglob("*.checkpoint")
    before = path.read_bytes()

    def full(*_):
        raise torch.cuda.OutOfMemoryError("no memory")

    monkeypatch.setattr(Training, "load_state_dict", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        train(CONFIG)
    assert path.read_bytes() == before


def test_processes_share_a_store_and_train_each_run_once(store, expected, capsys):
    processes = [start() for _ in range(2)]
    assert any(checkpointed(process, store) for process in processes)
    assert train(LONG).history.equals(expected)  # this process is the third
    outs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    outs.append(capsys.readouterr().out)
    assert sum("waiting for it" in out for out in outs) == 2
    assert all("imported []" in out for out in outs[:2])  # no process takes longer to start
    assert {Path(name).suffix for name in there(store)} == {".json"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_lock_is_taken_leaves_no_lock(store, monkeypatch, when, number):
    class Signalled(stores.FileLock):
        def _acquire(self):
            for moment in ("before", "after"):
                if moment == "after":
                    super()._acquire()
                if moment == when:
                    signal.raise_signal(number)

    monkeypatch.setattr(stores, "FileLock", Signalled)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG)
    assert [path for path in store.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert train(CONFIG).ended == "finished"


def test_a_dead_process_loses_its_lock_and_what_it_was_writing(killed, expected):
    folder, refusal = killed
    assert "another process is training" in refusal
    (checkpoint,) = folder.rglob("*.checkpoint")
    for name in (f".{checkpoint.stem}.json.01.tmp", ".other.json.01.tmp"):
        checkpoint.with_name(name).touch()
    assert Store(folder).train(LONG, wait=False).history.equals(expected)
    assert there(folder) == [".other.json.01.tmp", f"{checkpoint.stem}.json"]


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(store, monkeypatch):
    write = files.write

    def full(path, *content):
        if path.suffix == ".checkpoint":
            raise OSError(28, "No space left on device")
        write(path, *content)

    monkeypatch.setattr(files, "write", full)
    with pytest.warns(UserWarning, match="no checkpoint: .*No space left"):
        assert train(CONFIG, checkpoint_seconds=0).ended == "finished"


def test_when_the_record_cannot_be_written_no_step_is_lost(store, monkeypatch):
    def full(training, folder, seconds, commit):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(record, "save", full)
        with pytest.raises(OSError, match="No space left"):
            train(CONFIG)
    monkeypatch.setattr(Training, "step", None)  # training again would fail
    assert train(CONFIG).ended == "finished"


def test_a_diverged_run_is_a_result(store):
    config = other(policy=Fixed(1e9).to_dict(), model="cifar10_full")
    run = train(config)
    assert run.ended.startswith("diverged at iteration ")
    assert train(config).ended == run.ended


def test_a_full_disk_leaves_nothing_half_written(store):
    script = f"""
import resource, signal
from clr.runs import Store
from clr.training import RunConfig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = RunConfig.from_dict({CONFIG.to_dict()!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
Store.usual().train(config)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not write" in done.stderr and "CLR_RUNS" in done.stderr
    assert there(store) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


def test_a_store_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(OSError, match="could not write .*Set CLR_RUNS to another folder"):
        train(CONFIG)


def test_two_image_folders_are_two_data_sets(store, tmp_path):
    from test_data import folder

    def of(path):
        values = {"dataset": f"folder:{path}", "batch_size": 5, "iterations": 2}
        return RunConfig.from_dict(CONFIG.to_dict() | values)

    one, same = (
        of(folder(tmp_path / name, ("RGB",) * 5, ((8, 8),) * 5)) for name in ("one", "same")
    )
    two = of(folder(tmp_path / "two", ("RGB",) * 5, ((8, 12),) * 5))
    usual, first = Store.usual(), train(one)
    assert usual.search(one).path == first.path and usual.search(two) is None
    assert train(same).path == first.path  # the same images under another name
    (tmp_path / "else").mkdir()
    path = folder(tmp_path / "else" / "one", ("L",) * 5, ((8, 8),) * 5)  # the same last name
    assert usual.search(of(path)).path == first.path  # a search goes by the name
    assert train(of(path)).path != first.path
    assert {path.parent for path in store.rglob("*.json")} == {store / "folder-one" / "resnet8"}


def test_a_folder_with_any_name_has_a_place(tmp_path):
    for name in ("a b", "a:b", "..", "한글", "a\\b", "mnist", "a*b?"):
        path = record.place(tmp_path, f"folder:{name}", "resnet8", "x")
        assert path.parent.parent.parent == tmp_path and path.parent.parent.name != "mnist"
        assert not set(path.parent.parent.name) & set(':*?\\/" ')
