"""From what a loader yields to what the model and the loss are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from clr.range_test.described import described


def pair(batch: Any) -> tuple[Any, Any]:
    """A batch that is a pair (inputs, targets) already; TypeError for any other."""
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise TypeError(
        "batches must yield pairs (inputs, targets), or unpack must be a function that makes "
        f"such a pair from a batch; got {described(batch)}"
    )


def endless(
    batches: Iterable, unpack: Callable[[Any], tuple[Any, Any]], device: torch.device
) -> Iterator[tuple[Any, Any]]:
    """(inputs, targets) on `device`, pass after pass.

    ValueError if there are no batches, or none in a later pass; TypeError if `unpack` returns
    no pair.
    """
    passes = 0
    while True:
        empty = True
        for batch in batches:
            empty = False
            unpacked = unpack(batch)
            if not isinstance(unpacked, tuple | list) or len(unpacked) != 2:
                raise TypeError(
                    f"unpack must return a pair (inputs, targets); got {described(unpacked)}"
                )
            yield _moved(unpacked[0], device), _moved(unpacked[1], device)
        if empty and not passes:
            raise ValueError("batches must hold at least one batch; it holds none")
        if empty:
            raise ValueError(
                "batches must be something to iterate over again and again, such as a "
                "DataLoader; it was used up after one pass"
            )
        passes += 1


def outputs_of(model: Callable, inputs: Any) -> Any:
    """The model's outputs for `inputs`; a dict is passed as keyword arguments."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def is_one_batch(batches: object) -> bool:
    """Whether it looks like one batch instead of an iterable of batches."""
    if isinstance(batches, tuple | list):
        return len(batches) > 0 and all(isinstance(part, Tensor) for part in batches)
    return isinstance(batches, Tensor | Mapping)


def _moved(value: Any, device: torch.device) -> Any:
    """The same value with the tensors in it on `device`."""
    if hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, tuple | list):
        parts = [_moved(each, device) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
