import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Ctrl-C is tested also where the tests were started with it ignored (`make test &` in a script)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("clr", deadline=None, derandomize=True)
settings.load_profile("clr")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty run store of the test's own."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"
