"""Records in one file, to be moved between machines."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from clr.runs import files, record
from clr.runs.record import NewerFormat, Run


def export(runs: Sequence[Run], file: Path):
    """Write the records of `runs` into one tar file, whole or not at all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for run in runs:
            for path in (run.path, run.path.with_suffix(".csv")):
                tar.add(path, arcname=path.name)
    files.write(file, buffer.getvalue())


def import_(file: Path, folder: Path) -> tuple[int, int]:
    """Take the records of an exported file into `folder`; (new ones, ones that were there).

    Raises ValueError, having written nothing, if the file or a record in it is not whole, or
    a record of that name is there and differs.
    """
    try:
        with tarfile.open(file) as tar:
            members = {
                m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read as exported records: {error}") from error
    names = {name.rsplit(".", 1)[0] for name in members}
    for name in names:
        if not _whole(name, members):
            raise ValueError(f"{file}: the record {name} is not whole; nothing was imported")
        mine = folder / f"{name}.csv"
        if mine.exists() and mine.read_bytes() != members[f"{name}.csv"]:
            raise ValueError(
                f"{file}: another history of {name} is in {folder}; nothing was imported"
            )
    new = {name for name in names if not _readable(folder / f"{name}.json")}
    for name in sorted(new):
        for suffix in (".csv", ".json"):
            files.write(folder / f"{name}{suffix}", members[name + suffix])
    return len(new), len(names - new)


def _readable(path: Path) -> bool:
    try:
        return bool(record.load(path))
    except NewerFormat:
        raise
    except ValueError:
        return False


def _whole(name: str, members: dict[str, bytes]) -> bool:
    """Whether a record's two files are there, belong together, and have their own name."""
    if not {f"{name}.json", f"{name}.csv"} <= set(members) or Path(name).name != name:
        return False
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".csv", ".json"):
            (Path(folder) / f"{name}{suffix}").write_bytes(members[name + suffix])
        if not _readable(Path(folder) / f"{name}.json"):
            return False
        run = record.load(Path(folder) / f"{name}.json")
    return record.run_name(run.config, run.data["fingerprint"]) == name
