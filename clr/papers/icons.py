"""The shape of a schedule as a small picture, which stands beside its name or for it."""

from __future__ import annotations

import numpy as np

from clr.policies import Policy

WIDTH, HEIGHT = 64, 24  # pixels
_EDGE = 2  # room for half of the line's width


def corners(x: np.ndarray, y: np.ndarray, tolerance: float) -> np.ndarray:
    """Which points of a line suffice to draw it: indices, in order.

    The line through these points leaves out no point by more than `tolerance`, measured along
    `y` (Douglas and Peucker's method).
    """
    kept, open_ = {0, len(x) - 1}, [(0, len(x) - 1)]
    while open_:
        first, last = open_.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        line = np.interp(x[inner], x[[first, last]], y[[first, last]])
        away = np.abs(y[inner] - line)
        if away.max() > tolerance:
            middle = first + 1 + int(away.argmax())
            kept.add(middle)
            open_ += [(first, middle), (middle, last)]
    return np.array(sorted(kept))


def curve(
    policy: Policy, iterations: int, *, points: int = 4001
) -> tuple[np.ndarray, np.ndarray]:
    """The iterations and rates that suffice to draw a policy from 0 to `iterations`.

    No rate between them is off by more than a thousandth of the highest rate, if the policy is
    drawn from at most `points` iterations.
    """
    t = np.unique(np.linspace(0, iterations, points).astype(int))
    rates = policy(t)
    kept = corners(t, rates, rates.max() / 1000)
    return t[kept], rates[kept]


def path(policy: Policy, iterations: int) -> str:
    """An SVG path of the rate from iteration 0 to `iterations`, `WIDTH` by `HEIGHT` pixels.

    Its highest rate is at the top, and a rate of 0 at the bottom.
    """
    t = np.unique(np.linspace(0, iterations, 1025).astype(int))
    rates = policy(t)
    across, down = WIDTH - 2 * _EDGE, HEIGHT - 2 * _EDGE
    x = _EDGE + across * t / iterations
    y = _EDGE + down * (1 - rates / (rates.max() or 1))
    kept = corners(x, y, 0.2)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x[kept], y[kept], strict=True))
