"""The folder of the checkout, and the folders in it that several modules use."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
RECORDED = ROOT / "data" / "runs"  # the committed records


def data_dir() -> Path:
    """The folder of the data sets: the environment's `CLR_DATA`, else `data/cache`."""
    return Path(os.environ.get("CLR_DATA") or ROOT / "data" / "cache").expanduser()


def live_store() -> Path:
    """The folder of new records: the environment's `CLR_RUNS`, else `data/cache/runs`."""
    return Path(os.environ.get("CLR_RUNS") or ROOT / "data" / "cache" / "runs").expanduser()
