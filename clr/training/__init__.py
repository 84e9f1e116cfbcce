"""Training a network with a policy: a `RunConfig` in, a history out."""

from clr.training.config import RunConfig
from clr.training.loop import COLUMNS, Training

__all__ = ["COLUMNS", "RunConfig", "Training"]
