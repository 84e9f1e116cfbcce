"""Files that are there whole or not at all, and claims that die with their process."""

from __future__ import annotations

import hashlib
import os
import warnings
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clr.interrupts import deferred

_SEAL = 64 + 1  # a sha256 in hex and a newline
FOR_RUNS = ". CLR_RUNS names another folder for runs"  # advice


@deferred()
def write(path: Path, content: bytes, advice: str = ""):
    """Write a file by way of a temporary one: synced, then renamed.

    Raises OSError, naming the file and the reason, with the advice; nothing half-written is
    left, also not after Ctrl-C.
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
        with suppress(OSError):  # what is wrong with the folder is in the message already
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(path, error, advice) from error
        raise


def _not_written(path: Path, error: OSError, advice: str) -> OSError:
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
    """The content of the newest whole one of PATH and PATH.before; None if there is none.

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
        file.unlink()  # or the next write would keep it as the one before
    return None


def remove_sealed(path: Path):
    """Remove PATH and PATH.before."""
    for file in (path, path.with_name(path.name + ".before")):
        file.unlink(missing_ok=True)


class Claimed(Exception):
    """Another process is at it."""


class claim:
    """`with claim(path):` keeps other processes out; the system frees it at a process's end.

    Waits for a claim held by another process, or, with `wait=False`, raises Claimed. Raises
    OSError if the folder cannot be written. What a process killed in the middle of `write`
    left behind of PATH* is removed.
    """

    def __init__(self, path: Path, *, wait: bool = True):
        self.path, self.wait = path.with_name(f".{path.name}.claim"), wait
        self.leftovers = f".{path.name}.*.tmp"

    def __enter__(self):
        probe = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe.touch()
        except OSError as error:
            raise _not_written(self.path, error, FOR_RUNS) from error
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        self.lock = FileLock(self.path)
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            if not self.wait:
                raise Claimed(f"another process is training {self.path.name}") from None
            print(f"another process is training {self.path.name[1:-6]}; waiting for it")
            self.lock.acquire()
        for file in self.path.parent.glob(self.leftovers):
            file.unlink(missing_ok=True)

    @deferred()
    def __exit__(self, *_):
        # removed while it is still held: whoever waits for it looks for the record next
        try:
            if os.name != "nt":
                self.path.unlink(missing_ok=True)
        finally:
            self.lock.release()
        if os.name == "nt":  # there no open file can be removed
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
