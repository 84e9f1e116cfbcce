"""Records in one file, to be moved between machines."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from clr.runs import files, record
from clr.runs.form import NewerFormat
from clr.runs.record import Run


def export(runs: Sequence[Run], file: Path):
    """Write the records of `runs` into one tar file, whole or not at all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for run in runs:
            for path in (run.path, run.path.with_suffix(".csv")):
                tar.add(path, arcname=path.name)
    files.write(file, buffer.getvalue())


def import_(file: Path, folder: Path) -> tuple[int, int]:
    """Add the records of an exported file to `folder`; returns how many were (new, known).

    A record in `folder` that is not whole counts as new and is replaced.
    Raises ValueError, and writes nothing, if the file holds no record, if it or a record in it
    is not whole, or if `folder` holds another history of a record. Raises NewerFormat if a
    newer version wrote a record in the file or in `folder`.
    """
    members = _members(file)
    names = sorted({name.rsplit(".", 1)[0] for name in members})
    if not names:
        raise ValueError(f"{file} holds no records; nothing was imported")
    new = []
    for name in names:
        _check(file, name, members)
        if not _usable(folder / f"{name}.json"):
            new.append(name)
        elif (folder / f"{name}.csv").read_bytes() != members[f"{name}.csv"]:
            raise ValueError(
                f"{file}: another history of {name} is in {folder}; nothing was imported"
            )
    for name in new:
        for suffix in (".csv", ".json"):
            files.write(folder / f"{name}{suffix}", members[name + suffix])
    return len(new), len(names) - len(new)


def _members(file: Path) -> dict[str, bytes]:
    """The files in an archive by their names; ValueError if it cannot be read."""
    try:
        with tarfile.open(file) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read as exported records: {error}") from error


def _check(file: Path, name: str, members: dict[str, bytes]):
    """ValueError, naming the archive, unless both files of a record are there and whole."""
    where = f"{file}: the record {name!r}"
    try:
        for suffix in (".json", ".csv"):
            if name + suffix not in members:
                raise ValueError(f"it has no {suffix} file")
        path = Path(f"{name}.json")
        if path.stem != name:
            raise ValueError("its name must hold no path")
        record.parse(path, members[f"{name}.json"], members[f"{name}.csv"])
    except NewerFormat as error:
        raise error.at(where, "nothing was imported. Update the package") from None
    except ValueError as error:
        raise ValueError(f"{where} is not whole; nothing was imported: {error}") from error


def _usable(path: Path) -> bool:
    """Whether there is a record at `path` that is whole."""
    try:
        record.load(path)
    except NewerFormat:
        raise
    except ValueError:
        return False
    return True
