"""Ctrl-C and SIGTERM: defer them, note them, or send them to other processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from contextlib import contextmanager, suppress

import psutil


def _in_main_thread() -> bool:
    """Whether this thread receives signals: only the main thread does."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def deferred():
    """A context in which Ctrl-C takes effect only when the block has ended."""
    if not _in_main_thread():
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


class noted:
    """`with noted() as signals:` a first SIGINT or SIGTERM only sets `signals.came`.

    A second one raises KeyboardInterrupt at once.
    """

    def __enter__(self):
        self.came, self.before = False, {}
        if _in_main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def tell(processes: Iterable[psutil.Process], number: int):
    """Send a signal to every process that is still running."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
