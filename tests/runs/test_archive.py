import hashlib
import io
import json
import re
import shutil
import tarfile

import pytest
from made import rewrite

from clr import cli
from clr.papers.cyclical import REHEARSAL
from clr.runs import Store, archive, record, run_name
from clr.training import RunConfig


def run(*args):
    return cli.main(["sweep", *map(str, args)])


def histories(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_records_move_between_machines_as_one_file(store, tmp_path, monkeypatch, capsys):
    arguments = ["--experiment", "rehearsal", "--seeds", 1]
    REHEARSAL.runs(Store.usual().train, seeds=1)
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
    pack(file, members)


def pack(file, members):
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
    record = Store.usual().train(REHEARSAL.config("fixed"))
    archive.export([record], tmp_path / "file")
    repack(tmp_path / "file", change)
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "other"))
    assert run("--import", tmp_path / "file") == 2
    assert "is not whole; nothing was imported: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == [record.path.name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A record's JSON, as values, and its CSV, as text."""
    run = Store(tmp_path_factory.mktemp("runs")).train(REHEARSAL.config("fixed"))
    return json.loads(run.path.read_text()), run.path.with_suffix(".csv").read_text()


def set_(*path):
    """A change of the JSON: the value at `path`, whose last item it becomes."""

    def change(values, csv):
        *parents, key, new = path
        for parent in parents:
            values = values[parent]
        values[key] = new
        return csv

    return change


def lose_key(*path):
    def change(values, csv):
        *parents, key = path
        for parent in parents:
            values = values[parent]
        del values[key]
        return csv

    return change


def last(column, value):
    """A change of the CSV: the value of its last row in that column."""

    def change(values, csv):
        values.pop("final_accuracy")
        *rows, row = csv.splitlines()
        cells = row.split(",")
        cells[column] = value
        return "\n".join([*rows, ",".join(cells)]) + "\n"

    return change


def rows(first, end):
    def change(values, csv):
        values.pop("final_accuracy")
        return "\n".join(csv.splitlines()[first:end]) + "\n"

    return change


def column(number):
    def change(values, csv):
        lines = [line.split(",") for line in csv.splitlines()]
        return "\n".join(",".join(c[:number] + c[number + 1 :]) for c in lines) + "\n"

    return change


def another(find, put):
    def change(values, csv):
        assert find in csv
        return csv.replace(find, put)

    return change


# Everything else is consistent: the checksum, and the name as the config and the data have it.
NO_SENSE = {
    "accuracy 7": (last(4, "7"), "test_accuracy must be a fraction"),
    "no accuracy": (last(4, ""), "test_accuracy must be a fraction"),
    "accuracy inf": (last(4, "inf"), "test_accuracy must be a fraction"),
    "accuracy in words": (last(4, "good"), "must hold numbers"),
    "rate NaN": (last(1, "nan"), "lr must be finite"),
    "finished with a loss that is not finite": (last(2, "inf"), "train_loss must be finite"),
    "last row too late": (
        last(0, "999"),
        "every 20 iterations from 0 to 60; it has 4: 0 to 999",
    ),
    "last row lost": (rows(0, -1), "every 20 iterations from 0 to 60; it has 3: 0 to 40"),
    "only row 0": (rows(0, 2), "it has 1: 0 to 0"),
    "no rows": (rows(0, 1), "must hold numbers"),
    "empty": (rows(0, 0), "No columns to parse"),
    "no test_accuracy": (column(4), "must have the columns iteration, lr"),
    "a cell too many": (another("\n20,", "\n20,20,"), "must have the columns|tokenizing"),
    "iterations in words": (another("\n20,", "\ntwenty,"), "must hold numbers"),
    "ended 5": (set_("ended", 5), "ended must be a text"),
    "ended null": (set_("ended", None), "ended must be a text"),
    "ended as HTML": (set_("ended", "<script>alert(1)</script>"), "ended must be 'finished'"),
    "ended late": (set_("ended", "diverged at iteration 61"), "with N from 1 to 60"),
    "diverged before": (set_("ended", "diverged at iteration 7"), "from 0 to 20; it has 4"),
    "name as HTML": (set_("data", "name", "folder:<b>x"), "none of < > "),
    "name with a path": (set_("data", "name", "folder:a/b"), "name must hold no path"),
    "name upwards": (set_("data", "name", "folder:.."), "name must hold no path"),
    "name 5": (set_("data", "name", 5), "dataset must be one of digits"),
    "data set as HTML": (set_("config", "dataset", "<b>x"), "dataset must be digits"),
    "data set of another kind": (set_("config", "dataset", "mnist"), "dataset must be digits"),
    "no fingerprint": (lose_key("data", "fingerprint"), "it has no 'fingerprint'"),
    "fingerprint 5": (set_("data", "fingerprint", 5), "fingerprint must be a text"),
    "short fingerprint": (set_("data", "fingerprint", "ab"), "fingerprint must be a sha256"),
    "data a list": (set_("data", []), "data must be a JSON object; got []"),
    "data null": (set_("data", None), "data must be a JSON object; got None"),
    "no images": (set_("data", "train", 0), "train must be a whole number"),
    "classes in words": (set_("data", "classes", "ten"), "classes must be a number"),
    "config null": (set_("config", None), "config must be a JSON object"),
    "policy a text": (set_("config", "policy", "fixed"), "policy must be a JSON object"),
    "unknown field": (set_("config", "lr", 1), "unexpected keyword argument 'lr'"),
    "10**400 iterations": (set_("config", "iterations", 10**400), "iterations|too large"),
    "another seed": (set_("config", "seed", -1), "seed must be a whole number"),
    "format in words": (set_("format", "new"), "format must be a number"),
    "no provenance": (lose_key("provenance"), "it has no 'provenance'"),
    "provenance a list": (set_("provenance", [1]), "provenance must be a JSON object"),
    "time NaN": (set_("provenance", "seconds", float("nan")), "seconds must be finite"),
    "device 5": (set_("provenance", "device", 5), "device must be a text"),
    "no threads": (lose_key("provenance", "threads"), "it has no 'threads'"),
    "tf32 5": (set_("provenance", "tf32", 5), "tf32 must be True or False"),
    "processor 5": (set_("provenance", "processor", 5), "processor must be a text"),
    "final accuracy 7": (set_("final_accuracy", 7), "final_accuracy must be a fraction"),
    "another final accuracy": (set_("final_accuracy", 0.5), "final_accuracy is 0.5, but"),
}


def refused(file, tmp_path, monkeypatch, capsys):
    """What is said when an archive is imported, which leaves nothing behind."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "other"))
    there = sorted(tmp_path.rglob("*"))
    assert run("--import", file) == 2
    assert sorted(tmp_path.rglob("*")) == there
    out, err = capsys.readouterr()
    assert not out and err.startswith(f"clr sweep: {file}") and "nothing was imported" in err
    return err


def named(values):
    """The name of a record, computed from its JSON whatever is in it."""
    config = values.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("policy"), dict):
        return "digits-cifar10_full-fixed-seed0-0"
    defaults = RunConfig(REHEARSAL.config("fixed").policy, 60).to_dict()
    short = {
        k: v
        for k, v in config.items()
        if k in ("policy", "iterations") or v != defaults.get(k, v)
    }
    data = values["data"] if isinstance(values["data"], dict) else {}
    canonical = json.dumps(
        [short, data.get("fingerprint")], sort_keys=True, separators=(",", ":")
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
    parts = [config["dataset"], config["model"], "fixed", f"seed{config['seed']}", digest]
    return "-".join(parts)


@pytest.mark.parametrize("case", NO_SENSE)
def test_an_import_of_a_record_without_sense_is_refused(
    whole, tmp_path, monkeypatch, capsys, case
):
    change, says = NO_SENSE[case]
    values, csv = json.loads(json.dumps(whole[0])), whole[1]
    csv = change(values, csv).encode()
    values["history_sha256"] = hashlib.sha256(csv).hexdigest()
    name = named(values)
    pack(tmp_path / "file", {f"{name}.json": json.dumps(values).encode(), f"{name}.csv": csv})
    said = refused(tmp_path / "file", tmp_path, monkeypatch, capsys)
    assert re.search(re.escape(says).replace(r"\|", "|"), said), said
    folder = tmp_path / "loaded"  # a record that lies in a store is checked in the same way
    folder.mkdir()
    (folder / f"{name}.json").write_text(json.dumps(values))
    (folder / f"{name}.csv").write_bytes(csv)
    with pytest.raises(ValueError, match="cannot be used: "):
        record.load(folder / f"{name}.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("null", "the record must be a JSON object; got None"),
        ("[1, 2]", "the record must be a JSON object; got [1, 2]"),
        ("7", "the record must be a JSON object; got 7"),
        ("{}", "it has no 'format'"),
        ("[" * 200_000 + "]" * 200_000, "its JSON is nested too deeply"),
        ('{"format":' * 200_000 + "1" + "}" * 200_000, "its JSON is nested too deeply"),
    ],
    ids=["null", "list", "number", "empty", "nested lists", "nested objects"],
)
def test_an_import_of_other_json_is_refused(text, says, tmp_path, monkeypatch, capsys):
    pack(tmp_path / "file", {"a.json": text.encode(), "a.csv": b"iteration\n"})
    assert says in refused(tmp_path / "file", tmp_path, monkeypatch, capsys)


def test_the_record_without_a_change_is_imported(whole, tmp_path):
    values, csv = whole
    name = named(values)
    assert name == run_name(REHEARSAL.config("fixed"), values["data"]["fingerprint"])
    for each in (values, {k: v for k, v in values.items() if k != "final_accuracy"}):
        members = {f"{name}.json": json.dumps(each).encode(), f"{name}.csv": csv.encode()}
        pack(tmp_path / "file", members)
        assert archive.import_(tmp_path / "file", tmp_path / f"to{len(each)}") == (1, 0)


def test_an_archive_without_records_says_so(tmp_path, monkeypatch, capsys):
    pack(tmp_path / "file", {})
    said = refused(tmp_path / "file", tmp_path, monkeypatch, capsys)
    assert "file holds no records; nothing was imported" in said


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_an_import_repairs_a_record_that_is_not_whole(store, tmp_path, suffix):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    archive.export([record], tmp_path / "file")
    if suffix == ".csv":
        record.path.with_suffix(".csv").unlink()
    else:
        record.path.write_text("{")
    assert archive.import_(tmp_path / "file", store) == (1, 0)
    assert Store.usual().train(record.config).history.equals(record.history)


def test_an_import_does_not_replace_another_history(store, tmp_path, capsys):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    archive.export([record], tmp_path / "file")
    rewrite(record.path, record.history.assign(test_accuracy=0.5))
    mine = record.path.with_suffix(".csv").read_bytes()
    assert run("--import", tmp_path / "file") == 2
    assert "another history of" in capsys.readouterr().err
    assert record.path.with_suffix(".csv").read_bytes() == mine
    (tmp_path / "junk").write_bytes(b"junk")
    assert run("--import", tmp_path / "junk") == 2
    assert "cannot be read as exported records" in capsys.readouterr().err


def test_an_export_of_nothing_writes_nothing(store, tmp_path, capsys):
    assert run("--experiment", "rehearsal", "--export", tmp_path / "file") == 2
    assert "--export needs at least one recorded run" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("size", [0, 40])
def test_an_import_repairs_a_damaged_history(store, tmp_path, size):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    archive.export([record], tmp_path / "file")
    csv = record.path.with_suffix(".csv")
    whole = csv.read_bytes()
    csv.write_bytes(whole[:size])
    assert archive.import_(tmp_path / "file", store) == (1, 0)
    assert csv.read_bytes() == whole


def test_records_of_a_newer_version_are_neither_replaced_nor_called_damaged(
    store, tmp_path, capsys
):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    archive.export([record], tmp_path / "file")
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
    said = capsys.readouterr().err
    assert f"{tmp_path / 'file'}: the record '{record.path.stem}' has format 99" in said
    assert "newer version" in said and "nothing was imported" in said and not store.exists()
