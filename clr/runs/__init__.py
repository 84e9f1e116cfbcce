"""Runs: one training and its record, the stores they lie in, and sweeps over many of them."""

from clr.runs.record import NewerFormat, Run, run_name
from clr.runs.store import Store

__all__ = ["NewerFormat", "Run", "Store", "run_name"]
