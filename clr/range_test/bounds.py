"""How base_lr and max_lr are read off a range test's curves: methods, by name.

The paper (CLR 3.3) reads accuracy by eye: base_lr where it starts to rise, max_lr where the
rise slows, gets ragged or turns into a fall; or base_lr as a third or a fourth of max_lr. Of
these three choices of max_lr, the method "accuracy" takes the first, which varies little
between seeds, and "falls" takes the last, which varies much more. Other tools use the methods
that read the loss; these give one rate.

Every reading depends on the length of the ramp: the longer it is, the more steps the network
has made before a rate is reached, and the lower is the rate at which accuracy rises. Use the
bounds for half cycles of about the ramp's length, or make a second test with another length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clr import checks

WINDOW = 5  # rows in the running median
START, SLOW = 0.25, 0.9  # shares of the whole rise, at which base_lr and max_lr are read
FALL = 0.1  # the share of the rise that counts as a fall when it is lost
FLAT = 0.05  # a curve that rises by less is flat
LATE = 0.85  # a rise that goes on beyond this share of the rows has no visible end
# A run of fewer iterations than `SHORT` is not read. This table shows how the bounds of the
# method "accuracy" (medians of three seeds) depend on the length of a ramp from 0 to 1. They
# were measured on the digits in batches of 50, all but the first row with momentum:
#
#     iterations      20         40         80        160        420         6000
#     2 layers    0.38 0.74  0.33 none  0.21 0.57  0.13 0.52  0.096 0.33  0.027 0.090
#     2 layers    0.30 0.70  0.18 0.56  0.11 0.36  0.07 0.26  0.043 0.14  0.014 0.038
#     5 layers    0.72 0.81  0.46 0.68  0.36 0.59  0.25 0.38  0.139 0.24  0.033 0.057
#     convolution 0.22 0.57  0.11 0.30  0.06 0.15  0.04 0.09  0.020 0.06  0.013 0.020
#
# From 160 iterations on, a ramp four times as long multiplies both bounds by 0.4 to 0.8, mostly
# by about a half; every reading says so. With 20 or 40 iterations, max_lr is 0.3 to 0.8 of the
# ramp's end for every network, because no network can learn in so few steps: the reading
# depends on the end of the ramp, not on the network. `SHORT` is between these two cases.
SHORT = 100


@dataclass(frozen=True)
class Bounds:
    """The bounds that a range test gives; None for a bound that it cannot give.

    `why` says how they were read, or why one is missing.

    `seeds` holds (base_lr, max_lr) read off each seed's own curve. The bounds are their
    medians, given only where more than half of the seeds have a reading. If that is so for both
    bounds, they are the medians over the seeds that have both, which must be more than half.
    """

    base_lr: float | None
    max_lr: float | None
    method: str
    why: str
    seeds: tuple[tuple[float | None, float | None], ...] = ()

    def spread(self) -> dict[str, float]:
        """The ratio of the largest to the smallest value per bound; NaN for fewer than two."""
        ratios = {}
        for i, name in enumerate(("base_lr", "max_lr")):
            values = [value for each in self.seeds if (value := each[i]) is not None]
            ratios[name] = nan
            if len(values) > 1:
                ratios[name] = max(values) / min(values) if min(values) else inf
        return ratios


def smoothed(values: ArrayLike) -> np.ndarray:
    """The running median over `WINDOW` rows, as long as `values`."""
    values = np.asarray(values, float)
    if not len(values):
        return values
    padded = np.pad(values, WINDOW // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)


Reading = tuple[float | None, float | None, str]  # base_lr, max_lr, why


def _rise(accuracy: np.ndarray) -> tuple[np.ndarray, int, float]:
    """(smoothed curve, index of its top, its lowest value up to there)."""
    smooth = smoothed(accuracy)
    top = int(smooth.argmax())
    return smooth, top, smooth[: top + 1].min()


def _crossing(lr: np.ndarray, smooth: np.ndarray, level: float, first: int) -> float:
    """The rate at which the curve reaches `level`, between row `first` and the row before."""
    before, after = smooth[first - 1], smooth[first]
    share = (level - before) / (after - before)
    return float(lr[first - 1] + share * (lr[first] - lr[first - 1]))


def _by_accuracy(lr: np.ndarray, accuracy: np.ndarray, broke: bool) -> Reading:
    """base_lr: the rate from which the curve stays above a quarter of its rise, up to its top.
    max_lr: the first rate after base_lr at which it has reached nine tenths of its rise.
    """
    smooth, top, low = _rise(accuracy)
    rise = smooth[top] - low
    if rise < FLAT:
        return None, None, f"flat: it rises by {rise:.3f}, from {low:.3f}"
    start, slow = low + START * rise, low + SLOW * rise
    first = int(np.flatnonzero(smooth[:top] < start)[-1]) + 1
    base = _crossing(lr, smooth, start, first)
    last = first + int(np.argmax(smooth[first:] >= slow))
    highest = _crossing(lr, smooth, slow, last)
    if not broke and last > LATE * (len(lr) - 1):
        return base, None, "it rises up to the end and never slows: raise the range's end"
    return base, highest, "read off"


def _until_it_falls(lr: np.ndarray, accuracy: np.ndarray, broke: bool) -> Reading:
    """base_lr: as in `_by_accuracy`. max_lr: the last rate before accuracy has fallen, from its
    best value so far, by a tenth of the rise.
    """
    base, _, why = _by_accuracy(lr, accuracy, broke)
    if base is None:
        return None, None, why
    smooth, top, low = _rise(accuracy)
    after = lr >= base
    best = np.maximum.accumulate(smooth[after])
    fallen = best - smooth[after] > FALL * (smooth[top] - low)
    if not fallen.any():
        if broke:  # the divergence counts as the fall
            return base, float(lr[-1]), "read off"
        return base, None, "it never falls: raise the range's end"
    return base, float(lr[after][max(0, int(np.argmax(fallen)) - 1)]), "read off"


def _share(part: int) -> Callable[[np.ndarray, np.ndarray, bool], Reading]:
    def read(lr: np.ndarray, accuracy: np.ndarray, broke: bool) -> Reading:
        _, high, why = _by_accuracy(lr, accuracy, broke)
        return None if high is None else high / part, high, why

    return read


def _loss_steepest(lr: np.ndarray, loss: np.ndarray, broke: bool) -> Reading:
    falls = np.diff(smoothed(loss))
    if falls.min() >= 0:
        return None, None, "monotone: the loss never falls"
    return None, float(lr[int(falls.argmin()) + 1]), "read off; this method gives one rate"


def _loss_minimum(lr: np.ndarray, loss: np.ndarray, broke: bool) -> Reading:
    smooth = smoothed(loss)
    lowest = int(smooth.argmin())
    if lowest in (0, len(lr) - 1):
        return None, None, "monotone: the loss has its minimum at an end"
    return None, float(lr[lowest]) / 10, "read off; this method gives one rate"


METHODS = {
    "accuracy": _by_accuracy,
    "falls": _until_it_falls,
    "max/3": _share(3),
    "max/4": _share(4),
    "loss steepest": _loss_steepest,
    "loss minimum/10": _loss_minimum,
}


def _read(curve: pd.DataFrame, column: str, method: str, ended: str) -> Reading:
    """The bounds that one curve gives; its missing values are left out."""
    lr, values = curve["lr"].to_numpy(float), curve[column].to_numpy(float)
    there, iterations = np.isfinite(values), int(curve["iteration"].iloc[-1])
    broke = ended != "finished"
    base = top = None
    if there.sum() < 2 * WINDOW:
        why = f"too short: {there.sum()} rows with a value, {2 * WINDOW} are needed"
    elif iterations < SHORT:
        advice = "lower the range's end or make the ramp longer" if broke else "make it longer"
        why = (
            f"too short: after {iterations} iterations the reading would depend on the length "
            f"and the end of the ramp more than on the model; {SHORT} are needed: {advice}"
        )
    else:
        base, top, why = METHODS[method](lr[there], values[there], broke)
    if top is not None:
        return base, top, f"{why}; a ramp four times as long may give half of it"
    return base, top, f"{why}; it {ended}" if broke else why


def _median(readings: Sequence[float | None]) -> float | None:
    """The median of the readings; None unless more than half of the seeds have one."""
    there = [value for value in readings if value is not None]
    return float(np.median(there)) if 2 * len(there) > len(readings) else None


def read(
    curves: Sequence[pd.DataFrame], ended: Sequence[str], watched: str, method: str
) -> Bounds:
    """The bounds of curves that ended in these ways, by one of `METHODS`; ValueError otherwise.

    `watched` is the column that is read unless the method reads the loss.
    """
    checks.one_of("method", method, METHODS)
    column = "train_loss" if method.startswith("loss") else watched
    singly = [_read(c, column, method, end) for c, end in zip(curves, ended, strict=True)]
    read_off = [(low, high) for low, high, _ in singly]
    if None not in map(_median, zip(*read_off, strict=True)):
        # both of the same seeds, so that base_lr is below max_lr
        read_off = [(None, None) if None in pair else pair for pair in read_off]
    base, top = map(_median, zip(*read_off, strict=True))
    # if there is no max_lr, count only the reasons of the seeds that have none
    whys = [why for _, high, why in singly if top is not None or high is None]
    why = Counter(whys).most_common(1)[0][0]
    return Bounds(base, top, method, why, tuple((low, high) for low, high, _ in singly))
