"""Runs: one training and its record, the stores they lie in, and sweeps over many of them."""

from clr.runs.form import NewerFormat
from clr.runs.names import run_name
from clr.runs.record import Run
from clr.runs.store import Store

__all__ = ["NewerFormat", "Run", "Store", "run_name"]
