"""How base_lr and max_lr are read off a range test's curves: methods, by name.

The paper (CLR 3.3) reads accuracy by eye: base_lr where it starts to rise, max_lr where the
rise slows, gets ragged or turns into a fall; or base_lr as a third or a fourth of max_lr. Of
these three ends "accuracy" takes the first, which repeats from seed to seed, and "falls" the
last, which does so much less. The methods that read the loss are what other tools do; they
give one rate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf, nan

import numpy as np

from clr import checks

WINDOW = 5  # rows in the running median
START, SLOW = 0.25, 0.9  # shares of the curve's whole rise: it is under way, it slows down
FALL = 0.1  # the share that has to be lost again
FLAT = 0.05  # a rise below this is none
LATE = 0.85  # a rise that ends in the rows after that has not been seen to end


@dataclass(frozen=True)
class Bounds:
    """What a range test says. `base_lr` or `max_lr` is None where it can't; `why` says why.

    `seeds` holds (base_lr, max_lr) read off each seed's own curve. The bounds are their
    medians, given only where more than half of the seeds have a reading.
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


def _rise(accuracy):
    """(smoothed curve, index of its top, its lowest value up to there)."""
    smooth = smoothed(accuracy)
    top = int(smooth.argmax())
    return smooth, top, smooth[: top + 1].min()


def _crossing(lr, smooth, level, first):
    """The rate at which the curve comes to `level`, on its way to row `first`."""
    before, after = smooth[first - 1], smooth[first]
    share = (level - before) / (after - before)
    return float(lr[first - 1] + share * (lr[first] - lr[first - 1]))


def _by_accuracy(lr, accuracy, broke):
    """base_lr: the rate from which on a quarter of the whole rise is done, up to the top.
    max_lr: the rate at which nine tenths of it are done for the first time since then.
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


def _until_it_falls(lr, accuracy, broke):
    """base_lr as above; max_lr: the last rate before accuracy is a tenth of the rise below its
    best so far.
    """
    base, _, why = _by_accuracy(lr, accuracy, broke)
    if base is None:
        return None, None, why
    smooth, top, low = _rise(accuracy)
    after = lr >= base
    best = np.maximum.accumulate(smooth[after])
    fallen = best - smooth[after] > FALL * (smooth[top] - low)
    if not fallen.any():
        if broke:  # that was the fall
            return base, float(lr[-1]), "read off"
        return base, None, "it never falls: raise the range's end"
    return base, float(lr[after][max(0, int(np.argmax(fallen)) - 1)]), "read off"


def _share(part):
    def read(lr, accuracy, broke):
        _, high, why = _by_accuracy(lr, accuracy, broke)
        return None if high is None else high / part, high, why

    return read


def _loss_steepest(lr, loss, broke):
    falls = np.diff(smoothed(loss))
    if falls.min() >= 0:
        return None, None, "monotone: the loss never falls"
    return None, float(lr[int(falls.argmin()) + 1]), "read off; this method gives one rate"


def _loss_minimum(lr, loss, broke):
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


def _read(lr, values, method, ended):
    """(base_lr, max_lr, why) off one curve, whose missing values are left out."""
    lr, values = np.asarray(lr, float), np.asarray(values, float)
    there = np.isfinite(values)
    broke = ended != "finished"
    if there.sum() < 2 * WINDOW:
        why = f"too short: {there.sum()} rows with a value, {2 * WINDOW} are needed"
        return None, None, f"{why}; it {ended}" if broke else why
    base, top, why = METHODS[method](lr[there], values[there], broke)
    return base, top, f"{why}; it {ended}" if broke and top is None else why


def _median(readings):
    """Their median, or None unless more than half of them are there."""
    there = [value for value in readings if value is not None]
    return float(np.median(there)) if 2 * len(there) > len(readings) else None


def read(test, method: str = "accuracy") -> Bounds:
    """The bounds of a `clr.range_test.RangeTest`, by one of `METHODS`; ValueError otherwise."""
    checks.one_of("method", method, METHODS)
    table = test.column("train_loss" if method.startswith("loss") else test.watched)
    singly = [_read(table.index, table[i], method, test.ended[i]) for i in table]
    bases, tops, whys = zip(*singly, strict=True)
    base, top = _median(bases), _median(tops)
    if top is None:  # the reason of those that have none
        whys = [why for why, value in zip(whys, tops, strict=True) if value is None]
    why = Counter(whys).most_common(1)[0][0]
    return Bounds(base, top, method, why, tuple(zip(bases, tops, strict=True)))
