"""What an argument may be: each check returns the value, or says what is allowed.

Every message names the argument, the value it got and what it takes.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Collection, Iterable
from typing import TypeVar

T = TypeVar("T")


def real(name: str, value: object, low: float, high: float, allowed: str) -> float:
    """A finite number from `low` to `high`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, {allowed}; got {value!r}")
    if not low <= float(value) <= high:  # also refuses NaN
        raise ValueError(f"{name} must be {allowed}; got {value!r}")
    return float(value)


def rate(name: str, value: object) -> float:
    """A learning rate or a decay."""
    return real(name, value, 0.0, sys.float_info.max, "finite and at least 0")


def gamma(name: str, value: object) -> float:
    """A factor that shrinks: above 0, at most 1."""
    return real(name, value, sys.float_info.min, 1.0, "above 0 and at most 1")


def momentum(name: str, value: object) -> float:
    """At least 0 and below 1."""
    return real(name, value, 0.0, 1.0 - 2**-53, "at least 0 and below 1")


def whole(name: str, value: object, low: int = 1, high: int = 2**53) -> int:
    """A whole number from `low` up, to `high`; 2000.0 counts as 2000."""
    allowed = f"a whole number, at least {low}" + f" and at most {high}" * (high < 2**53)
    number = real(name, value, low, high, allowed)
    if number != int(number):
        raise ValueError(f"{name} must be {allowed}; got {value!r}")
    return int(number)


def whole_or_none(name: str, value: object) -> int | None:
    """A whole number from 1 up, or None."""
    return None if value is None else whole(name, value)


def rising(name: str, value: object) -> tuple[int, ...]:
    """Whole numbers in rising order."""
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be whole numbers in rising order; got {value!r}")
    numbers_ = tuple(whole(name, item) for item in value)
    if list(numbers_) != sorted(set(numbers_)):
        raise ValueError(f"{name} must be in rising order; got {value!r}")
    return numbers_


def one_of(name: str, value: T, allowed: Collection[T]) -> T:
    """One of the values in `allowed`."""
    if value not in allowed:
        known = ", ".join(repr(item) if "," in str(item) else str(item) for item in allowed)
        raise ValueError(f"{name} must be one of {known}; got {value!r}")
    return value


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return value
