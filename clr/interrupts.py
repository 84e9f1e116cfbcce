"""Signals: Ctrl-C and SIGTERM, put off, noted, and told to other processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from contextlib import contextmanager, suppress

import psutil


def _in_main_thread() -> bool:
    """Whether signals come to this thread: they come to the main one only."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def deferred():
    """Ctrl-C waits until the block is done."""
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
    """`with noted() as signals:` a SIGINT or SIGTERM sets `signals.came` and does no more.

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
    """Send a signal to each of the processes that still runs."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def take_sigterm_as_ctrl_c():
    """From now on SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
