import os

import pytest

from clr import files


def test_nothing_half_written_stays_after_ctrl_c(tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "run.json", b"{}")
    assert not list(tmp_path.iterdir())


def test_a_file_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    fsync, there = os.fsync, []

    def synced(file):
        there.append(sorted(path.name for path in tmp_path.iterdir()))
        fsync(file)

    monkeypatch.setattr(files.os, "fsync", synced)
    files.write(tmp_path / "run.json", b"{}")
    ((temporary,),) = there
    assert temporary.startswith(".run.json.") and temporary.endswith(".tmp")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"{}"]


def test_no_link_is_followed(tmp_path, monkeypatch):
    """The name of the temporary file is random, and a file that has it is not written to."""
    (tmp_path / "runs").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (f".run.json.{os.getpid()}.tmp", ".run.json.00.tmp"):
        (tmp_path / "runs" / name).symlink_to(victim)
    files.write(tmp_path / "runs" / "run.json", b"{}")
    assert (tmp_path / "runs" / "run.json").read_bytes() == b"{}"
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "00")  # as if it were guessed
    with pytest.raises(OSError, match="could not write other.json") as error:
        (tmp_path / "runs" / ".other.json.00.tmp").symlink_to(victim)
        files.write(tmp_path / "runs" / "other.json", b"{}")
    assert isinstance(error.value.__cause__, FileExistsError)
    assert victim.read_text() == "mine"
