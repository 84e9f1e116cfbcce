"""How an error message shows a value that may be long."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

LONGEST = 80  # characters


def described(value: object) -> str:
    """Its repr if that is short; else its type, with a tensor's shape or a dict's keys."""
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
    text = repr(value)
    if len(text) <= LONGEST and "\n" not in text:
        return text
    return f"an object of class {type(value).__name__}"
