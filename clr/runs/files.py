"""Files that are written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import warnings
from contextlib import suppress
from pathlib import Path

_SEAL = 64 + 1  # a sha256 in hex and a newline
FOR_RUNS = ". Set CLR_RUNS to another folder for runs"  # advice


def write(path: Path, content: bytes, advice: str = ""):
    """Write a file as a temporary one, which is synced and then renamed.

    Raises OSError with the file, the reason and `advice`. No half-written file is left, not
    even after Ctrl-C.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # the error raised below says what is wrong
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise not_written(path, error, advice) from error
        raise


def not_written(path: Path, error: OSError, advice: str) -> OSError:
    """The error for a file that could not be written, with the advice."""
    return OSError(
        error.errno,
        f"could not write {path.name} to {path.parent}: {error.strerror}; "
        f"nothing half-written was left{advice}",
    )


def write_sealed(path: Path, content: bytes):
    """`write` with a checksum in front; what was there before stays as PATH.before."""
    if path.exists():
        os.replace(path, path.with_name(path.name + ".before"))
    write(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content, FOR_RUNS)


def read_sealed(path: Path) -> bytes | None:
    """The content of PATH, or of PATH.before if PATH is damaged; None if neither is whole.

    A damaged file is named in a warning.
    """
    for file in (path, path.with_name(path.name + ".before")):
        if not file.exists():
            continue
        data = file.read_bytes()
        seal, content = data[:_SEAL], data[_SEAL:]
        if seal == hashlib.sha256(content).hexdigest().encode() + b"\n":
            return content
        warnings.warn(f"{file} is damaged; the one before it is used", stacklevel=2)
        file.unlink()  # otherwise the next write would keep it as PATH.before
    return None


def remove_sealed(path: Path):
    """Remove PATH and PATH.before."""
    for file in (path, path.with_name(path.name + ".before")):
        file.unlink(missing_ok=True)
