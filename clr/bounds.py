"""How base_lr and max_lr are read off a range test's curves: methods, by name.

The paper (CLR 3.3) reads accuracy by eye: base_lr where it starts to rise, max_lr where the
rise slows, gets ragged or turns into a fall; or base_lr as a third or a fourth of max_lr. The
methods that read the loss are what other tools do; they give one rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

import numpy as np

from clr import checks

WINDOW = 5  # rows in the running median
RISE = FALL = 0.1  # shares of the curve's whole rise


@dataclass(frozen=True)
class Bounds:
    """What a range test says. `base_lr` or `max_lr` is None where it can't; `why` says why.

    `seeds` holds (base_lr, max_lr) of each seed's own curve, the others are read off the median
    curve.
    """

    base_lr: float | None
    max_lr: float | None
    method: str
    why: str
    seeds: tuple[tuple[float | None, float | None], ...] = ()

    def spread(self) -> dict[str, float]:
        """Largest over smallest across the seeds, of each bound; NaN for fewer than two."""
        ratios = {}
        for i, name in enumerate(("base_lr", "max_lr")):
            values = [each[i] for each in self.seeds if each[i] is not None]
            ratios[name] = nan
            if len(values) > 1:
                ratios[name] = max(values) / min(values) if min(values) else inf
        return ratios


def smoothed(values) -> np.ndarray:
    """The running median over `WINDOW` rows, as long as `values`."""
    padded = np.pad(np.asarray(values, float), WINDOW // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)


def _by_accuracy(lr, accuracy):
    """base_lr: the rate from which on a tenth of the whole rise is done, up to the top.
    max_lr: the last one before accuracy is a tenth of the rise below its best since then.
    """
    smooth = smoothed(accuracy)
    top = int(smooth.argmax())
    low, high = smooth[: top + 1].min(), smooth[top]
    if high - low < 0.05:
        return None, None, f"flat: it stays within {low:.3f} and {high:.3f}"
    below = np.flatnonzero(smooth[: top + 1] < low + RISE * (high - low))
    first = int(below[-1]) + 1 if len(below) else 0
    best = np.maximum.accumulate(smooth[first:])
    broken = best - smooth[first:] > FALL * (high - low)
    if not broken.any():
        return float(lr[first]), None, "it never falls: raise the range's end"
    return float(lr[first]), float(lr[first + int(np.argmax(broken)) - 1]), "read off"


def _share(part):
    def read(lr, accuracy):
        _, high, why = _by_accuracy(lr, accuracy)
        return None if high is None else high / part, high, why

    return read


def _loss_steepest(lr, loss):
    falls = np.diff(smoothed(loss))
    if falls.min() >= 0:
        return None, None, "monotone: the loss never falls"
    return None, float(lr[int(falls.argmin()) + 1]), "read off; this method gives one rate"


def _loss_minimum(lr, loss):
    smooth = smoothed(loss)
    lowest = int(smooth.argmin())
    if lowest in (0, len(lr) - 1):
        return None, None, "monotone: the loss has its minimum at an end"
    return None, float(lr[lowest]) / 10, "read off; this method gives one rate"


METHODS = {
    "accuracy": _by_accuracy,
    "max/3": _share(3),
    "max/4": _share(4),
    "loss steepest": _loss_steepest,
    "loss minimum/10": _loss_minimum,
}


def _read(lr, values, method):
    """(base_lr, max_lr, why) off one curve, whose missing values are left out."""
    lr, values = np.asarray(lr, float), np.asarray(values, float)
    there = np.isfinite(values)
    if there.sum() < 2 * WINDOW:
        return (
            None,
            None,
            f"too short: {there.sum()} rows with a value, {2 * WINDOW} are needed",
        )
    return METHODS[method](lr[there], values[there])


def read(test, method: str = "accuracy") -> Bounds:
    """The bounds of a `clr.range_test.RangeTest`, by one of `METHODS`; ValueError otherwise."""
    checks.one_of("method", method, METHODS)
    column = "train_loss" if method.startswith("loss") else test.watched
    table = test.column(column)
    base, top, why = _read(table.index, table.median(axis=1), method)
    if base is None and top is None and all(end != "finished" for end in test.ended):
        why += f"; it {test.ended[0]}"
    seeds = tuple(_read(table.index, table[i], method)[:2] for i in table)
    return Bounds(base, top, method, why, seeds)
