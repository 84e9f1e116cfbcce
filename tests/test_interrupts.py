import signal
import threading

import pytest

from clr.interrupts import noted


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
