"""The three windows that the paper names (CLR 3.1), as functions of x.

x is the distance from the top of the cycle: 1 at its ends, 0 at its top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Wave = Callable[[Any], Any]  # of a number or an array
X = TypeVar("X", float, np.ndarray)


def triangle(x: X) -> X:
    """Triangular window, `1 - x`: straight up and straight down."""
    return 1.0 - x


def welch(x: X) -> X:
    """Welch window, `1 - x**2`: a parabola, most of the time near the top."""
    return 1.0 - x * x


def hann(x: X) -> X:
    """Hann window, `(1 + cos(pi x)) / 2`: smooth at the top and at the ends."""
    return 0.5 * (1.0 + np.cos(np.pi * x))


WAVES: dict[str, Wave] = {wave.__name__: wave for wave in (triangle, welch, hann)}


def a_wave(name: str, value: Any) -> Wave:
    """The check for one of the waves."""
    if value not in WAVES.values():
        known = ", ".join(WAVES)
        raise ValueError(f"{name} must be one of clr.policies' {known}; got {value!r}")
    return value
