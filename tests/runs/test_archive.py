import io
import shutil
import tarfile

import pytest

from clr import cli
from clr.papers.cyclical import REHEARSAL
from clr.runs import Store, archive


def run(*args):
    return cli.main(["sweep", *map(str, args)])


def histories(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_records_move_between_machines_as_one_file(store, tmp_path, monkeypatch, capsys):
    arguments = ["--experiment", "rehearsal", "--seeds", 1]
    REHEARSAL.train(Store.usual(), seeds=1)
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
    assert "is not whole; nothing was imported" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


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
    csv = record.path.with_suffix(".csv")
    csv.write_text(csv.read_text() + "9,9,9,9,9\n")
    assert run("--import", tmp_path / "file") == 2
    assert "another history of" in capsys.readouterr().err
    (tmp_path / "junk").write_bytes(b"junk")
    assert run("--import", tmp_path / "junk") == 2
    assert "cannot be read as exported records" in capsys.readouterr().err


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
    assert "written by a newer version" in capsys.readouterr().err and not store.exists()
