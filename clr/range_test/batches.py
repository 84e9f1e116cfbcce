"""From what a loader yields to what the model and the loss are given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from clr import checks


def described(value: object) -> str:
    """A value in an error message: a tensor's shape, a dict's keys, a tuple's parts."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype)[6:]}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with the keys {', '.join(map(str, value))}"
    if isinstance(value, tuple | list) and value:
        parts = ", ".join(described(part) for part in value[:3]) + ", …" * (len(value) > 3)
        return f"{type(value).__name__} of length {len(value)} ({parts})"
    return checks.shown(value)


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
) -> Generator[tuple[Any, Any]]:
    """(inputs, targets) on `device`, pass after pass.

    ValueError if there are no batches, or none in a later pass.
    """
    for number in itertools.count(1):
        empty = True
        for batch in batches:
            empty = False
            yield _moved(pair(unpack(batch)), device)
        if empty:
            used_up = " (it can be gone over only once: give a list of its batches)"
            raise ValueError(
                "batches must hold at least one batch in each pass, as a DataLoader does; "
                f"pass {number} has none{used_up * (iter(batches) is batches)}"
            )


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
