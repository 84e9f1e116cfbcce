"""How an error message shows a value that may be long."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from clr import checks


def described(value: object) -> str:
    """A tensor's shape, a dict's keys, a tuple's parts; any other value as `checks.shown`."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"a tensor of shape {tuple(value.shape)}, {dtype}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with the keys {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        parts = ", ".join(described(part) for part in value[:3]) + ", …" * (len(value) > 3)
        return (
            f"{type(value).__name__} of length {len(value)} ({parts})" if value else repr(value)
        )
    return checks.shown(value)
