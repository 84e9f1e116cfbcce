"""Training a network with a policy: a `RunConfig` in, a history out."""

from clr.training.batches import Batches
from clr.training.config import RunConfig
from clr.training.datasets import Dataset, Source, load
from clr.training.loop import COLUMNS, VALIDATION, Training, columns

__all__ = [
    "COLUMNS",
    "VALIDATION",
    "Batches",
    "Dataset",
    "RunConfig",
    "Source",
    "Training",
    "columns",
    "load",
]
