"""Runs and their records, the stores that keep the records, and sweeps over many runs."""

from clr.runs.record import NewerFormat, Run, run_name
from clr.runs.store import Store, export

__all__ = ["NewerFormat", "Run", "Store", "export", "run_name"]
