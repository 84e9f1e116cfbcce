"""Checks of arguments: each returns the value, or raises an error that says what is allowed.

Every message names the argument, its value and what is allowed.

A dataclass declares the check of a field in the field's annotation,
`stepsize: Annotated[int, whole]`, and calls `fields(self)` in its `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


def shown(value: object) -> str:
    """`value` as an error message shows it: its repr, or its type if the repr is too long."""
    text = repr(value)
    short = len(text) <= 200 and "\n" not in text
    return text if short else f"a value of type {type(value).__name__}"


def text_hint(value: object, kind: Callable[[float], float] = float, more: str = "") -> str:
    """How to write a number that came as text, and `more`; '' for any other value.

    `kind` is int or float.
    """
    if not isinstance(value, str):
        return ""
    try:
        number = kind(float(value))
    except (ValueError, OverflowError):
        return ""
    if number != float(value) or math.isinf(number):  # NaN differs from itself
        return ""
    written = repr(number)
    if "." not in written:
        written = written.replace("e", ".0e")  # YAML reads 1e-05 as text
    if "e" in value.lower() and not re.search(r"\.\d*e[-+]", value.lower()):
        return f" (YAML reads {value} as text; write {written}{more})"
    return f" (it came as text; write {written} without quotes{more})"


def instance(name: str, value: Any, kind: Any, allowed: str) -> Any:
    """A value of a class, or of one of several; TypeError otherwise."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {allowed}; got {shown(value)}")
    return value


def real(name: str, value: object, low: float, high: float, allowed: str) -> float:
    """A finite number from `low` to `high`; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} must be a number, {allowed}; got {shown(value)}{text_hint(value)}"
        )
    # Python compares integers and fractions with floats without rounding them
    exact: Any = value if isinstance(value, numbers.Rational) else float(value)
    if not low <= exact <= high:  # also refuses NaN
        raise ValueError(f"{name} must be {allowed}; got {shown(value)}")
    return float(value)


def rate(name: str, value: object) -> float:
    """A learning rate or a decay."""
    return real(name, value, 0.0, sys.float_info.max, "finite and at least 0")


def gamma(name: str, value: object) -> float:
    """A factor of decay: above 0 and at most 1."""
    return real(name, value, sys.float_info.min, 1.0, "above 0 and at most 1")


def momentum(name: str, value: object) -> float:
    """At least 0 and below 1."""
    return real(name, value, 0.0, 1.0 - 2**-53, "at least 0 and below 1")


def whole(name: str, value: object, low: int = 1, high: int = 2**53) -> int:
    """A whole number from `low` to `high`; 2000.0 counts as 2000."""
    allowed = f"a whole number, at least {low}" + f" and at most {high}" * (high < 2**53)
    number = real(name, value, low, high, allowed)
    if number != int(number):
        raise ValueError(f"{name} must be {allowed}; got {shown(value)}")
    return int(number)


def count(name: str, value: object) -> int:
    """A whole number from 0 up."""
    return whole(name, value, low=0)


def or_none(check: Callable[[str, object], T]) -> Callable[[str, object], T | None]:
    """The check for None, or for what `check` allows."""
    return lambda name, value: None if value is None else check(name, value)


def rising(name: str, value: object) -> tuple[int, ...]:
    """Whole numbers in rising order."""
    items = instance(name, value, Iterable, "whole numbers in rising order")
    found = tuple(whole(name, item) for item in items)
    if list(found) != sorted(set(found)):
        raise ValueError(f"{name} must be in rising order; got {shown(value)}")
    return found


def one_of(name: str, value: T, allowed: Collection[T]) -> T:
    """One of the values in `allowed`."""
    if value not in tuple(allowed):
        known = ", ".join(repr(item) if "," in str(item) else str(item) for item in allowed)
        raise ValueError(f"{name} must be one of {known}; got {shown(value)}")
    return value


def among(allowed: Collection[T]) -> Callable[[str, T], T]:
    """The check for one of the values in `allowed`."""
    return lambda name, value: one_of(name, value, allowed)


def flag(name: str, value: object) -> bool:
    """True or False."""
    return instance(name, value, bool, "True or False")


_CHECKS: WeakKeyDictionary[type, dict[str, Callable]] = WeakKeyDictionary()  # a cache


def fields(instance: Any) -> None:
    """Run the check of each field of a dataclass instance, and set what the check returns.

    Raises what the checks raise, and TypeError for a field that is declared without one.
    """
    cls = type(instance)
    if cls not in _CHECKS:
        hints = typing.get_type_hints(cls, include_extras=True)
        names = [field.name for field in dataclasses.fields(cls)]
        _CHECKS[cls] = {name: _check_of(name, hints[name]) for name in names}
    for name, check in _CHECKS[cls].items():
        object.__setattr__(instance, name, check(name, getattr(instance, name)))


def _check_of(name: str, hint: Any) -> Callable:
    for each in getattr(hint, "__metadata__", ()):
        if callable(each):
            return each
    raise TypeError(
        f"the field {name} must be declared with a check of its values, such as "
        f"{name}: Annotated[int, checks.whole]; got {name}: {hint}"
    )
