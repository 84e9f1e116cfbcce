"""Runs and their records, the stores that keep the records, and sweeps over many runs."""

from clr.runs.form import NewerFormat
from clr.runs.names import run_name
from clr.runs.record import Run
from clr.runs.store import Store

__all__ = ["NewerFormat", "Run", "Store", "run_name"]
