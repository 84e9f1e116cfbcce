"""Ctrl-C and SIGTERM, noted until it is a good moment to stop."""

from __future__ import annotations

import signal
import threading


class noted:
    """`with noted() as signals:` a first SIGINT or SIGTERM only sets `signals.came`.

    A second one raises KeyboardInterrupt at once. Only the main thread receives signals; in
    another one nothing is noted.
    """

    def __enter__(self):
        self.came, self.before = False, {}
        if threading.current_thread() is threading.main_thread():
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
