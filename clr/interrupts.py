"""Ctrl-C and SIGTERM: note them, or send them to other processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from contextlib import suppress

import psutil


def _in_main_thread() -> bool:
    """Whether this thread receives signals: only the main thread does."""
    return threading.current_thread() is threading.main_thread()


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


def take_sigterm_as_ctrl_c():
    """From now on SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
