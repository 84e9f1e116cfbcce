"""The three windows that the paper names (CLR 3.1), as functions of x.

x is the distance from the top of the cycle: 1 at its ends, 0 at its top.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def triangle(x):
    """Triangular window, `1 - x`: straight up and straight down."""
    return 1.0 - x


def welch(x):
    """Welch window, `1 - x**2`: a parabola, most of the time near the top."""
    return 1.0 - x * x


def hann(x):
    """Hann window, `(1 + cos(pi x)) / 2`: smooth at the top and at the ends."""
    return 0.5 * (1.0 + np.cos(np.pi * x))


WAVES: dict[str, Callable] = {wave.__name__: wave for wave in (triangle, welch, hann)}


def a_wave(name, value) -> Callable:
    """The check for one of the waves."""
    if value not in WAVES.values():
        known = ", ".join(WAVES)
        raise ValueError(f"{name} must be one of clr.policies' {known}; got {value!r}")
    return value
