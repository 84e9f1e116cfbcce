import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("clr", deadline=None, derandomize=True)
settings.load_profile("clr")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty run store of the test's own."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"
