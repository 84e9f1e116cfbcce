import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from clr.interrupts import noted, take_sigterm_as_ctrl_c, tell


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_one_raises(number):
    before = signal.getsignal(number)
    with noted() as signals:
        assert not signals.came
        signal.raise_signal(number)
        assert signals.came
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_other_threads_leave_the_handlers_alone():
    seen = []

    def work():
        with noted() as signals:
            seen.append((signals.came, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.default_int_handler)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_processes_are_told_and_those_that_are_gone_are_left_out():
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    gone, there = (subprocess.Popen(command) for _ in range(2))
    processes = [psutil.Process(each.pid) for each in (gone, there)]
    gone.kill()
    gone.wait()
    tell(processes, signal.SIGTERM)
    assert there.wait(20) == -signal.SIGTERM


def test_sigterm_is_taken_as_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    try:
        take_sigterm_as_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
