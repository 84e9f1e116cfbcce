"""Training a network with a policy: from a `RunConfig` to a history."""

from clr.training.config import RunConfig
from clr.training.data import Batches, Dataset, Source, load
from clr.training.loop import (
    COLUMNS,
    SECOND,
    VALIDATION,
    VALIDATION_LOSS,
    Training,
    columns,
)

__all__ = [
    "COLUMNS",
    "SECOND",
    "VALIDATION",
    "VALIDATION_LOSS",
    "Batches",
    "Dataset",
    "RunConfig",
    "Source",
    "Training",
    "columns",
    "load",
]
