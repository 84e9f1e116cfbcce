import gzip
import hashlib
import io
import json
import os
import re
import resource
import shutil
import tarfile

import pytest
from made import histories, rewrite

from clr import cli
from clr.papers.cyclical import REHEARSAL
from clr.policies import OneCycleMomentum
from clr.runs import Store, export, record, run_name
from clr.runs import store as stores
from clr.training import RunConfig


def run(*args):
    return cli.main(["sweep", *map(str, args)])


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


def members(file):
    with tarfile.open(file) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def repack(file, change):
    there = members(file)
    change(there)
    pack(file, there)


def pack(file, members):
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def old_form(values):
    """The two files, JSON and CSV, in which format 1 had the same record."""
    csv = "".join(f"{line}\n" for line in values["history"])
    head = {k: v for k, v in values.items() if k != "history"} | {"format": 1}
    return (json.dumps(head, indent=1) + "\n").encode(), csv.encode()


def in_old_form(members):
    for name in list(members):
        values = json.loads(members[name])
        members[name], members[name.replace(".json", ".csv")] = old_form(values)


def lose(members):
    in_old_form(members)
    members.pop(next(name for name in members if name.endswith(".csv")))


def falsify(members):
    (name,) = members
    values = json.loads(members[name])
    values["history"][1] = values["history"][1].replace("0.", "1.", 1)
    members[name] = json.dumps(values).encode()


def falsify_csv(members):
    in_old_form(members)
    name = next(name for name in members if name.endswith(".csv"))
    members[name] = members[name].replace(b"0.", b"1.", 1)


def escape(members):
    for name in list(members):
        members["../" + name] = members.pop(name)


def rename(members):
    for name in list(members):
        members["x" + name] = members.pop(name)


@pytest.mark.parametrize("change", [lose, falsify, falsify_csv, escape, rename])
def test_an_import_that_is_not_whole_writes_nothing(
    store, tmp_path, monkeypatch, capsys, change
):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    export([record], tmp_path / "file")
    repack(tmp_path / "file", change)
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "other"))
    assert run("--import", tmp_path / "file") == 2
    assert "is not whole; nothing was imported: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*.json")] == [record.path.name]


def test_records_of_the_old_form_are_imported(store, tmp_path, monkeypatch, capsys):
    """From an archive that `sweep --export` wrote at a429e39, and from a folder of files."""
    runs = [REHEARSAL.config("fixed"), REHEARSAL.config("triangular")]
    made = [Store.usual().train(config).path for config in runs]
    (tmp_path / "old").mkdir()
    with tarfile.open(tmp_path / "old.tar.gz", "w:gz") as tar:  # with times and owners
        for path in made:
            for suffix, content in zip(
                (".json", ".csv"), old_form(json.loads(path.read_text())), strict=True
            ):
                file = tmp_path / "old" / f"{path.stem}{suffix}"
                file.write_bytes(content)
                tar.add(file, arcname=file.name)
    for source in ("old.tar.gz", "old"):
        monkeypatch.setenv("CLR_RUNS", str(tmp_path / f"from {source}"))
        assert run("--import", tmp_path / source) == 0
        assert "2 records imported" in capsys.readouterr().out
        for path in made:
            there = tmp_path / f"from {source}" / path.relative_to(store)
            assert there.read_bytes() == path.read_bytes()
    assert Store(tmp_path / "old").add(tmp_path / "old") == (2, 0)  # in place
    assert Store(tmp_path / "old").add(store) == (0, 2)  # a folder of this form


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A record's JSON, as values, and its history, as text."""
    run = Store(tmp_path_factory.mktemp("runs")).train(REHEARSAL.config("fixed"))
    values = json.loads(run.path.read_text())
    return values, "".join(f"{line}\n" for line in values.pop("history"))


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
    "accuracy in words": (last(4, "good"), "could not convert"),
    "rate NaN": (last(1, "nan"), "lr must be finite"),
    "finished with a loss that is not finite": (last(2, "inf"), "train_loss must be finite"),
    "last row too late": (
        last(0, "999"),
        "every 20 iterations from 0 to 60; it has 4: 0, 999",
    ),
    "last row lost": (rows(0, -1), "every 20 iterations from 0 to 60; it has 3: 0, 40"),
    "only row 0": (rows(0, 2), "it has 1: 0"),
    "no rows": (rows(0, 1), "it has 0"),
    "empty": (rows(0, 0), "must have the columns"),
    "no test_accuracy": (column(4), "must have the columns iteration, lr"),
    "a cell too many": (another("\n20,", "\n20,20,"), "must have 5 cells in each row"),
    "iterations in words": (another("\n20,", "\ntwenty,"), "a row every 20 iterations"),
    "ended 5": (set_("ended", 5), "ended must be a text"),
    "ended null": (set_("ended", None), "ended must be a text"),
    "ended as HTML": (set_("ended", "<script>alert(1)</script>"), "ended must be 'finished'"),
    "ended late": (set_("ended", "diverged at iteration 61"), "with N from 1 to 60"),
    "diverged before": (set_("ended", "diverged at iteration 7"), "from 0 to 20; it has 4"),
    "name as HTML": (set_("data", "name", "folder:<b>x"), "none of < > "),
    "name with a path": (set_("data", "name", "folder:a/b"), "name must hold no path"),
    "name upwards": (set_("data", "name", "folder:.."), "name must hold no path"),
    "name 5": (set_("data", "name", 5), "dataset must be one of digits"),
    "data set as HTML": (
        set_("config", "dataset", "<b>x"),
        "dataset must be one of digits; got",
    ),
    "data set of another kind": (
        set_("config", "dataset", "mnist"),
        "dataset must be one of digits; got",
    ),
    "no fingerprint": (lose_key("data", "fingerprint"), "it has no 'fingerprint'"),
    "fingerprint 5": (set_("data", "fingerprint", 5), "fingerprint must be a text"),
    "data a list": (set_("data", []), "is not whole"),
    "data null": (set_("data", None), "is not whole"),
    "no images": (set_("data", "train", 0), "train must be a whole number"),
    "classes in words": (set_("data", "classes", "ten"), "classes must be a number"),
    "config null": (set_("config", None), "is not whole"),
    "policy a text": (set_("config", "policy", "fixed"), "a policy must be a dictionary"),
    "unknown field": (set_("config", "lr", 1), "unexpected keyword argument 'lr'"),
    "10**400 iterations": (set_("config", "iterations", 10**400), "iterations|too large"),
    "another seed": (set_("config", "seed", -1), "seed must be a whole number"),
    "format in words": (set_("format", "new"), "format must be a number"),
    "no provenance": (lose_key("provenance"), "it has no 'provenance'"),
    "provenance a list": (set_("provenance", [1]), "is not whole"),
    "time NaN": (set_("provenance", "seconds", float("nan")), "seconds must be finite"),
    "device 5": (set_("provenance", "device", 5), "device must be a text"),
    "no threads": (lose_key("provenance", "threads"), "it has no 'threads'"),
    "tf32 5": (set_("provenance", "tf32", 5), "tf32 must be True or False"),
    "processor 5": (set_("provenance", "processor", 5), "processor must be a text"),
    "final accuracy 7": (set_("final_accuracy", 7), "final_accuracy is not that of"),
    "another final accuracy": (set_("final_accuracy", 0.5), "final_accuracy is not that of"),
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
    csv = change(values, csv)
    values["history_sha256"] = hashlib.sha256(csv.encode()).hexdigest()
    name, content = named(values), json.dumps(values | {"history": csv.splitlines()}).encode()
    pack(tmp_path / "file", {f"{name}.json": content})
    said = refused(tmp_path / "file", tmp_path, monkeypatch, capsys)
    assert re.search(re.escape(says).replace(r"\|", "|"), said), said
    path = tmp_path / f"{name}.json"  # a record that lies in a store is checked in the same way
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be used: "):
        record.load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("null", "is not whole"),
        ("[1, 2]", "is not whole"),
        ("7", "is not whole"),
        ("{}", "it has no 'format'"),
        ("[" * 200_000 + "]" * 200_000, "its JSON is nested too deeply"),
        ('{"format":' * 200_000 + "1" + "}" * 200_000, "its JSON is nested too deeply"),
    ],
    ids=["null", "list", "number", "empty", "nested lists", "nested objects"],
)
def test_an_import_of_other_json_is_refused(text, says, tmp_path, monkeypatch, capsys):
    pack(tmp_path / "file", {"a.json": text.encode()})
    assert says in refused(tmp_path / "file", tmp_path, monkeypatch, capsys)


def test_the_record_without_a_change_is_imported(whole, tmp_path):
    values, csv = whole
    name = named(values)
    assert name == run_name(REHEARSAL.config("fixed"), values["data"]["fingerprint"])
    for each in (values, {k: v for k, v in values.items() if k != "final_accuracy"}):
        content = json.dumps(each | {"history": csv.splitlines()}).encode()
        pack(tmp_path / "file", {f"{name}.json": content})
        assert Store(tmp_path / f"to{len(each)}").add(tmp_path / "file") == (1, 0)


def test_an_archive_without_records_says_so(tmp_path, monkeypatch, capsys):
    pack(tmp_path / "file", {})
    said = refused(tmp_path / "file", tmp_path, monkeypatch, capsys)
    assert "file holds no records; nothing was imported" in said


@pytest.mark.parametrize("size", [0, 40, 1000])
def test_an_import_repairs_a_record_that_is_not_whole(store, tmp_path, size):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    export([record], tmp_path / "file")
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:size])
    assert Store(store).add(tmp_path / "file") == (1, 0)
    assert record.path.read_bytes() == whole


def test_an_import_does_not_replace_another_history(store, tmp_path, capsys):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    export([record], tmp_path / "file")
    rewrite(record.path, record.history.assign(test_accuracy=0.5))
    mine = record.path.read_bytes()
    assert run("--import", tmp_path / "file") == 2
    assert "another history of" in capsys.readouterr().err
    assert record.path.read_bytes() == mine
    (tmp_path / "junk").write_bytes(b"junk")
    assert run("--import", tmp_path / "junk") == 2
    assert "cannot be read as exported records" in capsys.readouterr().err


def test_an_export_of_nothing_writes_nothing(store, tmp_path, capsys):
    assert run("--experiment", "rehearsal", "--export", tmp_path / "file") == 2
    assert "--export needs at least one recorded run" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


def test_records_of_a_newer_version_are_neither_replaced_nor_called_damaged(
    store, tmp_path, capsys
):
    record = Store.usual().train(REHEARSAL.config("fixed"))
    export([record], tmp_path / "file")
    newer = record.path.read_text().replace('"format": 2', '"format": 99')
    record.path.write_text(newer)
    assert run("--import", tmp_path / "file") == 2
    assert "written by a newer version" in capsys.readouterr().err
    assert record.path.read_text() == newer

    def age(members):
        name = next(name for name in members if name.endswith(".json"))
        members[name] = members[name].replace(b'"format": 2', b'"format": 99')

    repack(tmp_path / "file", age)
    shutil.rmtree(store)
    assert run("--import", tmp_path / "file") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'file'}: the record '{record.path.stem}' has format 99" in said
    assert "newer version" in said and "nothing was imported" in said and not store.exists()


# --- bounds: an archive that asks for too much is refused before it gets it ------


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse(size):
    """The header of a sparse file of that size, which holds nothing."""
    raw = bytearray(header("a.json", 0, tarfile.GNUTYPE_SPARSE))
    raw[483:495] = b"\x80" + size.to_bytes(11, "big")  # the file's real size
    raw[148:156] = b" " * 8
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    return bytes(raw)


BLOCKS = bytes(2 * tarfile.BLOCKSIZE)
HUGE = {
    "a sparse terabyte": gzip.compress(sparse(10**12) + BLOCKS),
    "a member of a terabyte": gzip.compress(header("a.json", 10**12) + BLOCKS),
    "a name of a terabyte": gzip.compress(header("a", 10**12, tarfile.GNUTYPE_LONGNAME)),
    "a member of negative size": gzip.compress(header("a.json", -1024) + BLOCKS),
    "zeros": gzip.compress(bytes(10**8), 1),
    "a name of zeros": gzip.compress(
        header("a", 10**8, tarfile.GNUTYPE_LONGNAME) + bytes(10**8), 1
    ),
    "a link": gzip.compress(header("a.json", 0, tarfile.SYMTYPE) + BLOCKS),
    "a device": gzip.compress(header("a.json", 0, tarfile.CHRTYPE) + BLOCKS),
    "half of a header": gzip.compress(header("a.json", 0)[:100]),
}


@pytest.mark.parametrize("case", HUGE)
def test_an_archive_that_asks_for_too_much_is_refused(
    case, tmp_path, monkeypatch, capsys, memory
):
    (tmp_path / "file").write_bytes(HUGE[case])
    with memory(200):
        refused(tmp_path / "file", tmp_path, monkeypatch, capsys)


def test_what_is_no_file_is_no_archive(tmp_path, monkeypatch, capsys):
    os.mkfifo(tmp_path / "fifo")
    for file in ("/dev/zero", tmp_path / "fifo", tmp_path / "nothing"):
        refused(file, tmp_path, monkeypatch, capsys)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "a.json")
    refused(tmp_path / "folder", tmp_path, monkeypatch, capsys)


@pytest.fixture
def memory():
    """`with memory(megabytes):` this process can take only so much more than it has."""

    class Limit:
        def __init__(self, megabytes):
            self.more = megabytes * 2**20

        def __enter__(self):
            self.before = resource.getrlimit(resource.RLIMIT_AS)
            pages = int(open("/proc/self/statm").read().split()[0])
            here = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (here + self.more, self.before[1]))

        def __exit__(self, *_):
            resource.setrlimit(resource.RLIMIT_AS, self.before)

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    return Limit


@pytest.mark.parametrize("old", [True, False])
def test_a_wide_table_is_refused_before_it_is_read(
    whole, old, tmp_path, monkeypatch, capsys, memory
):
    lines = [",".join(f"{i}" for i in range(100_000)), ",".join(["0"] * 100_000)]
    text = "".join(f"{line}\n" for line in lines)
    values = whole[0] | {"history_sha256": hashlib.sha256(text.encode()).hexdigest()}
    values |= {"history": lines}
    name = named(whole[0])
    there = {f"{name}.json": record.as_json(values)}
    if old:
        there = dict(zip((f"{name}.json", f"{name}.csv"), old_form(values), strict=True))
    pack(tmp_path / "file", there)
    with memory(200):
        said = refused(tmp_path / "file", tmp_path, monkeypatch, capsys)
    assert "must have the columns" in said


def test_a_run_of_a_million_million_iterations_is_refused(
    whole, tmp_path, monkeypatch, capsys, memory
):
    momentum = OneCycleMomentum(0.85, 0.95, 20).to_dict()
    config = whole[0]["config"] | {"iterations": 10**12, "momentum_policy": momentum}
    values = whole[0] | {"config": config, "history": whole[1].splitlines()}
    name = named(values)
    pack(tmp_path / "file", {f"{name}.json": record.as_json(values)})
    with memory(200):
        said = refused(tmp_path / "file", tmp_path, monkeypatch, capsys)
        assert "iterations must be" in said and "at most 10000000" in said
        with pytest.raises(ValueError, match="iterations must be .* at most 10000000"):
            RunConfig.from_dict(config)
        longest = RunConfig.from_dict(config | {"iterations": 10**7, "test_every": 200})
        with pytest.raises(ValueError, match="test_every must be at least 200 for 10,000,000"):
            RunConfig.from_dict(longest.to_dict() | {"test_every": 199})


def test_a_file_that_is_too_large_for_a_record_is_not_read(store, monkeypatch):
    made = Store.usual().train(REHEARSAL.config("fixed"))
    monkeypatch.setattr(record, "LARGEST", made.path.stat().st_size - 1)
    with pytest.raises(ValueError, match="bytes; a record has at most"):
        record.load(made.path)


def test_the_limit_of_an_archive_is_its_unpacked_size(store, tmp_path, monkeypatch, capsys):
    export([Store.usual().train(REHEARSAL.config("fixed"))], tmp_path / "file")
    monkeypatch.setattr(stores, "LARGEST", 5000)
    assert "unpacked, it has more than 5,000 bytes" in refused(
        tmp_path / "file", tmp_path, monkeypatch, capsys
    )
