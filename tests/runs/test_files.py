import os
import signal

import pytest

from clr.runs import files, locks


def test_nothing_half_written_stays_after_ctrl_c(tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "run.json", b"{}")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    (tmp_path / "run.json").write_bytes(b"before")
    fsync = os.fsync

    def disturbed(file):
        fsync(file)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(files.os, "fsync", disturbed)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "run.json", b"{}")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_lock_removes_what_a_killed_process_was_writing(tmp_path):
    for name in (".run.json.123.tmp", ".run.lock.123.tmp", ".run2.json.123.tmp", "run.csv"):
        (tmp_path / name).touch()
    with locks.lock(tmp_path / "run"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".run2.json.123.tmp", "run.csv"}
