"""Locks that keep other processes away from a run, and that end with their process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from clr.runs import files


class Locked(Exception):
    """Another process holds the lock."""


class lock:
    """`with lock(path):` keeps other processes out; the system frees it when a process ends.

    Waits for a lock held by another process or, with `wait=False`, raises Locked. Raises
    OSError if the folder cannot be written. Removes the temporary files of PATH* that a process
    left when it was killed during `write`.
    """

    def __init__(self, path: Path, *, wait: bool = True):
        self.path, self.wait = path.with_name(f".{path.name}.lock"), wait
        self.leftovers = f".{path.name}.*.tmp"

    def __enter__(self):
        probe = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe.touch()
        except OSError as error:
            raise files.not_written(self.path, error, files.FOR_RUNS) from error
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        self._held = FileLock(self.path)
        try:
            self._held.acquire(timeout=0)
        except Timeout:
            name = self.path.name[1:-5]  # without the dot and .lock
            if not self.wait:
                raise Locked(f"another process is training {name}") from None
            print(f"another process is training {name}; waiting for it")
            self._held.acquire()
        for file in self.path.parent.glob(self.leftovers):
            file.unlink(missing_ok=True)

    def __exit__(self, *_):
        # it can be removed while it is held: a waiting process looks for the record next
        try:
            if os.name != "nt":
                self.path.unlink(missing_ok=True)
        finally:
            self._held.release()
        if os.name == "nt":  # Windows cannot remove an open file
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
