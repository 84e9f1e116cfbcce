"""The LR range test: raise the rate linearly, watch accuracy, read both bounds (CLR 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clr import checks


@dataclass(frozen=True)
class Bounds:
    """What a range test says. `base_lr` or `max_lr` is None where it can't; `why` says why."""

    base_lr: float | None
    max_lr: float | None
    why: str


def read_bounds(
    lr, accuracy, *, rise: float = 0.1, fall: float = 0.1, window: int = 5
) -> Bounds:
    """Read base_lr and max_lr off one range test's accuracy curve.

    The paper reads them by eye: base_lr where accuracy starts to rise, max_lr where
    the rise slows, gets ragged or falls. Here, with `accuracy` (fractions)
    smoothed by a running median over `window` points: base_lr is the rate from which on,
    up to its top, it has risen by at least the share `rise` of its whole range; max_lr
    the last rate before it falls by the share `fall` below its best since then.
    """
    lr, accuracy = np.asarray(lr, float), np.asarray(accuracy, float)
    window = checks.whole("window", window)
    if lr.shape != accuracy.shape or lr.ndim != 1:
        raise ValueError(
            f"lr and accuracy must be equally long rows; got {lr.shape}, {accuracy.shape}"
        )
    if len(lr) < 2 * window:
        return Bounds(None, None, f"too short: {len(lr)} points, {2 * window} are needed")
    if not (np.diff(lr) > 0).all():
        raise ValueError("lr must rise from point to point, as in a range test")
    half = window // 2
    padded = np.pad(accuracy, half, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    top = int(smooth.argmax())
    low, high = smooth[: top + 1].min(), smooth[top]
    if high - low < 0.05:
        return Bounds(None, None, f"flat: accuracy stays within {low:.3f} and {high:.3f}")
    below = np.flatnonzero(smooth[: top + 1] < low + rise * (high - low))
    first = int(below[-1]) + 1 if len(below) else 0
    best = np.maximum.accumulate(smooth[first:])
    broken = best - smooth[first:] > fall * (high - low)
    if not broken.any():
        return Bounds(float(lr[first]), None, "accuracy never falls: raise the range's end")
    last = first + int(np.argmax(broken)) - 1
    return Bounds(float(lr[first]), float(lr[last]), "read off the accuracy")
