import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("MPLBACKEND", None)  # nbval's kernels choose theirs, which shows figures

import pytest
from hypothesis import settings

from clr.paths import ROOT

# Ctrl-C is tested also where the tests were started with it ignored (`make test &` in a script)
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("clr", deadline=None, derandomize=True)
settings.load_profile("clr")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty run store of the test's own."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def made_by_make(tmp_path_factory):
    """Makes a target of the Makefile with this Python, and gives the folder of its results."""

    def make(target):
        folder = tmp_path_factory.mktemp(target)
        bin_ = Path(sys.executable).parent  # not a .venv that make would make first
        subprocess.run(
            ["make", target, f"RESULTS={folder}", f"BIN={bin_}", "READY=README.md"],
            cwd=ROOT,
            check=True,
        )
        return folder

    return make
