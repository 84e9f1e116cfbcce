"""How base_lr and max_lr are read off a range test's curves: methods, by name.

The paper (CLR 3.3) reads accuracy by eye: base_lr where it starts to rise, max_lr where the
rise slows, gets ragged or turns into a fall; or base_lr as a third or a fourth of max_lr. Of
these three choices of max_lr, the method "accuracy" takes the first, which varies little
between seeds, and "falls" takes the last, which varies much more. Other tools use the methods
that read the loss in their own ways; these give one rate.

Every reading depends on the length of the ramp: the longer it is, the more steps the network
has made before a rate is reached, and the lower is the rate at which accuracy rises. Use the
bounds for half cycles of about the ramp's length, or make a second test with another length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clr import checks

WINDOWS = 5, 15  # rows in the running median: the second, where the noise hides the rise
START, SLOW = 0.25, 0.9  # shares of the whole rise, at which base_lr and max_lr are read
FALL = 0.1  # the share of the rise that counts as a fall when it is lost
LATE = 0.85  # a rise that goes on beyond this share of the rows has no visible end
FIRST = 0.1  # the share of the rows in which max_lr depends much on the range's end
FEWEST, EARLY = 10, 40  # rows that are needed, and from which the noise is measured at least
# A rise counts from `NOISE` standard deviations of the mean of a window on. A curve of 50 to
# 1,000 rows of independent noise rises by so much in one of 100 to 1,000 cases. A rise of less
# than `NOTHING` of the largest value counts as none: it is rounding, or a network that hardly
# moves.
NOISE, NOTHING = 10.0, 0.02
CLEAR_TURN = 0.3  # Spearman's correlation with the loss, from which the better side is known
SPREAD = 2.0  # between seeds, from which it is the first thing to be said
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
    """The bounds that a range test gives; None for a rate that it cannot give.

    `base_lr` and `max_lr` are for a cycle between them. `peak` is for a schedule that
    falls from its highest rate, to 0 for example, or stays at it; `max_lr` is often too high
    there (data/finders.csv).

    `why` says how they were read, or why one is missing, and `caveat` what to keep in mind.

    `seeds` holds (base_lr, max_lr) read off each seed's own curve. The bounds are their
    medians, given only where more than half of the seeds have a reading. If that is so for both
    bounds, they are the medians over the seeds that have both, which must be more than half.
    """

    base_lr: float | None
    max_lr: float | None
    method: str
    why: str
    seeds: tuple[tuple[float | None, float | None], ...] = ()
    peak: float | None = None
    caveat: str = ""

    def __str__(self) -> str:
        base, top, peak = (
            "none" if rate is None else f"{rate:.2g}"
            for rate in (self.base_lr, self.max_lr, self.peak)
        )
        return (
            f"base_lr {base}, max_lr {top} for cycles; peak {peak} for a schedule that falls\n"
            f"{self.why[:1].upper()}{self.why[1:]}.\n{self.caveat}"
        )

    def spread(self) -> dict[str, float]:
        """The ratio of the largest to the smallest value per bound; NaN for fewer than two."""
        read_off = pd.DataFrame(self.seeds, columns=["base_lr", "max_lr"], dtype=float)
        ratios = read_off.max() / read_off.min()
        return ratios.where(read_off.count() > 1).to_dict()


def smoothed(values: ArrayLike, window: int = WINDOWS[0]) -> np.ndarray:
    """The running median over `window` rows, as long as `values`; its ends are repeated."""
    values = np.asarray(values, float)
    if len(values) < window:
        return values
    near = WINDOWS[0] // 2  # rows that are repeated before the medians, the others after them
    padded = np.pad(values, near, mode="edge")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    return np.pad(medians, window // 2 - near, mode="edge")


def noise(values: np.ndarray) -> float:
    """The standard deviation of a row's noise, from the differences between rows.

    It is measured by second differences, in which a straight rise cancels out.
    """
    return float(np.sqrt(np.mean(np.diff(values, 2) ** 2) / 6))  # 1 + 4 + 1 variances


Reading = tuple[float | None, float | None, str]  # base_lr, max_lr, why


def _clear(difference: float, values: np.ndarray, window: int) -> bool:
    """Whether a smoothed curve with these values differs by more than its noise."""
    chance = NOISE * noise(values) / sqrt(window)
    return bool(difference > max(chance, NOTHING * np.abs(values).max()))


def _find_rise(values: np.ndarray) -> tuple[np.ndarray, int, float, bool]:
    """(smoothed curve, index of its top, its lowest value up to there, whether it rises)."""
    for window in WINDOWS:
        smooth = smoothed(values, window)
        top = int(smooth.argmax())
        low = smooth[: top + 1].min()
        ends = [max(top + window, EARLY)]  # behind the top it may be ragged
        if top >= FEWEST:
            ends.append(top + 1)
        if clear := any(_clear(smooth[top] - low, values[:end], window) for end in ends):
            break
    return smooth, top, low, clear


def _crossing(lr: np.ndarray, smooth: np.ndarray, level: float, first: int) -> float:
    """The rate at which the curve reaches `level`, between row `first` and the row before."""
    near = slice(first - 1, first + 1)
    return float(np.interp(level, smooth[near], lr[near]))


def _by_rise(lr: np.ndarray, values: np.ndarray, broke: bool) -> Reading:
    """base_lr: the rate from which the curve stays above a quarter of its rise, up to its top.
    max_lr: the first rate after base_lr at which it has reached nine tenths of its rise.
    """
    smooth, top, low, clear = _find_rise(values)
    if not clear:
        return _by_fall(lr, values)
    rise = smooth[top] - low
    start, slow = low + START * rise, low + SLOW * rise
    first = int(np.flatnonzero(smooth[:top] < start)[-1]) + 1
    base = _crossing(lr, smooth, start, first)
    last = first + int(np.argmax(smooth[first:] >= slow))
    highest = _crossing(lr, smooth, slow, last)
    if not broke and last > LATE * (len(lr) - 1):
        why = "it gets better up to the end and never slows: raise the range's end, for example"
        return base, None, f"{why} to {2 * lr[-1]:.2g}"
    return base, highest, "read off at 25 and 90 % of the improvement"


def _by_fall(lr: np.ndarray, values: np.ndarray) -> Reading:
    """max_lr alone, of a model that only gets worse: where a tenth of the fall has happened."""
    near = smoothed(values)
    gets_better = near.max() - near[0] > START * (near[0] - near.min())
    for window in () if gets_better else WINDOWS:
        smooth = smoothed(values, window)
        fall = smooth[0] - smooth.min()
        if _clear(fall, values[:EARLY], window):  # the low rates, at which little happens
            fallen = smooth[: int(smooth.argmin()) + 1] < smooth[0] - FALL * fall
            why = (
                "it only gets worse, so no base_lr; max_lr is where a tenth of the fall is done"
            )
            return None, float(lr[np.flatnonzero(~fallen)[-1]]), why
    return None, None, f"no rise above the noise (rows differ by {noise(values):.2g} by chance)"


def _until_it_falls(lr: np.ndarray, values: np.ndarray, broke: bool) -> Reading:
    """base_lr: as in `_by_rise`. max_lr: the last rate before the curve has fallen, from its
    best value so far, by a tenth of the rise.
    """
    base, high, why = _by_rise(lr, values, broke)
    if base is None:
        return None, high, why
    smooth, top, low, _ = _find_rise(values)
    after = lr >= base
    best = np.maximum.accumulate(smooth[after])
    fallen = best - smooth[after] > FALL * (smooth[top] - low)
    why = "read off at 25 % of the improvement and where a tenth of it is lost"
    if not fallen.any():
        if broke:  # the divergence counts as the fall
            return base, float(lr[-1]), why
        why = f"it never falls: raise the range's end, for example to {2 * lr[-1]:.2g}"
        return base, None, why
    return base, float(lr[after][max(0, int(np.argmax(fallen)) - 1)]), why


def _share(part: int, lr: np.ndarray, values: np.ndarray, broke: bool) -> Reading:
    base, high, why = _by_rise(lr, values, broke)
    return None if base is None or high is None else high / part, high, why


def _loss_steepest(lr: np.ndarray, values: np.ndarray, broke: bool) -> Reading:
    rises = np.diff(smoothed(values))
    if rises.max() <= 0:
        return None, None, "monotone: the loss never falls"
    return None, float(lr[int(rises.argmax()) + 1]), "read off; this method gives one rate"


def _loss_minimum(lr: np.ndarray, values: np.ndarray, broke: bool) -> Reading:
    lowest = int(smoothed(values).argmax())
    if lowest in (0, len(lr) - 1):
        return None, None, "monotone: the loss has its minimum at an end"
    return None, float(lr[lowest]) / 10, "read off; this method gives one rate"


# Each reads a curve that rises while the model gets better: (rates, curve, whether it broke).
# Those whose names begin with "loss" get minus the loss.
METHODS: dict[str, Callable[[np.ndarray, np.ndarray, bool], Reading]] = {
    "accuracy": _by_rise,
    "falls": _until_it_falls,
    "max/3": partial(_share, 3),
    "max/4": partial(_share, 4),
    "loss": _by_rise,
    "loss steepest": _loss_steepest,
    "loss minimum/10": _loss_minimum,
}


def _peak(curve: pd.DataFrame, ended: str) -> float | None:
    """A third of the rate with the lowest loss; None if the loss falls up to the end."""
    lr, values = _rows(curve, "train_loss", False)
    if len(lr) < FEWEST or curve["iteration"].iloc[-1] < SHORT:
        return None
    _, top, _, clear = _find_rise(values)
    finished = ended == "finished" and top > LATE * (len(lr) - 1)
    return float(lr[top]) / 3 if clear and not finished else None


def _rows(
    curve: pd.DataFrame, column: str, greater_is_better: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The rates and the values of a column, the latter so that they rise; NaN is left out."""
    lr, values = curve["lr"].to_numpy(float), curve[column].to_numpy(float)
    there = np.isfinite(values)
    return lr[there], values[there] if greater_is_better else -values[there]


def _read(
    curve: pd.DataFrame, column: str, greater_is_better: bool | None, method: str, ended: str
) -> Reading:
    """The bounds that one curve gives."""
    lr, values = _rows(curve, column, greater_is_better is not False)
    iterations, broke = int(curve["iteration"].iloc[-1]), ended != "finished"
    if len(lr) < FEWEST:
        why = f"too short: {len(lr)} rows with a value, {FEWEST} are needed"
    elif iterations < SHORT:
        advice = "lower the range's end or make the ramp longer" if broke else "make it longer"
        why = (
            f"too short: after {iterations} iterations the reading would depend on the length "
            f"and the end of the ramp more than on the model; {SHORT} are needed: {advice}"
        )
    elif greater_is_better is None and _clear(np.ptp(smoothed(values)), values, WINDOWS[0]):
        why = (
            f"the {column} is not seen to rise or to fall with the loss: give greater_is_better"
        )
    else:
        base, top, why = METHODS[method](lr, values, broke)
        return base, top, why if top is not None or not broke else f"{why}; it {ended}"
    return None, None, f"{why}; it {ended}" if broke else why


def _better_side(curves: Sequence[pd.DataFrame], column: str) -> bool | None:
    """Whether a column rises where the training loss falls; None if neither is clear."""
    both = [curve[["train_loss", column]].dropna().rank() for curve in curves]
    turn = float(np.mean([each.corr().iloc[0, 1] for each in both]))  # Spearman's
    return None if not abs(turn) > CLEAR_TURN else turn < 0


def _median(readings: Sequence[float | None]) -> float | None:
    """The median of the readings; None unless more than half of the seeds have one."""
    there = [value for value in readings if value is not None]
    return float(np.median(there)) if 2 * len(there) > len(readings) else None


def read(
    curves: Sequence[pd.DataFrame],
    ended: Sequence[str],
    watched: str,
    method: str,
    greater_is_better: bool | None,
) -> Bounds:
    """The bounds of curves that ended in these ways, by one of `METHODS`; ValueError otherwise.

    `watched` is the column that is read unless the method reads the loss.
    """
    checks.one_of("method", method, METHODS)
    column = "train_loss" if method.startswith("loss") else watched
    if column == "train_loss":
        greater_is_better = False
    elif greater_is_better is None:
        greater_is_better = _better_side(curves, column)
    singly = [
        _read(curve, column, greater_is_better, method, end)
        for curve, end in zip(curves, ended, strict=True)
    ]
    seeds = tuple((low, high) for low, high, _ in singly)
    base, top = map(_median, zip(*seeds, strict=True))
    if base is not None and top is not None:
        # both of the same seeds, so that base_lr is below max_lr
        whole = [(None, None) if None in pair else pair for pair in seeds]
        base, top = map(_median, zip(*whole, strict=True))
    # if there is no max_lr, count only the reasons of the seeds that have none
    whys = [why for _, high, why in singly if top is not None or high is None]
    why = Counter(whys).most_common(1)[0][0]
    if top is not None:
        inverted = not greater_is_better and column != "train_loss"
        falls = ", which falls as the model improves" * inverted
        why += f" ({column.replace('_', ' ')}{falls})"
    peak = _median([_peak(c, e) for c, e in zip(curves, ended, strict=True)])
    bounds = Bounds(base, top, method, why, seeds, peak)
    return replace(bounds, caveat=_caveat(bounds, curves[0]))


def _caveat(bounds: Bounds, curve: pd.DataFrame) -> str:
    """What matters most when these bounds are used."""
    if bounds.max_lr is None:
        if len(curve) > 1 and not np.isfinite(curve["train_loss"].iloc[-1]):
            return (
                f"The loss is not finite at iteration {curve['iteration'].iloc[-1]}: look for "
                "NaN and infinite values in the data first, then lower the range's end."
            )
        loss = "" if bounds.method.startswith("loss") else ", or read the loss, bounds('loss')"
        return (
            "Try several seeds, such as seeds=range(3), or larger batches, or accumulate=16"
            f"{loss}."
        )
    widest = np.nanmax([1.0, *bounds.spread().values()])
    if widest > SPREAD:
        return f"The seeds' readings differ by a factor of {widest:.1f}: use more seeds."
    if (curve["lr"] < bounds.max_lr).mean() < FIRST:
        return (
            "The range goes too far beyond max_lr, which depends on its end: make another test "
            f"that ends at about {4 * bounds.max_lr:.2g}."
        )
    return (
        "A longer ramp gives a lower base_lr and max_lr (four times as long: about half). Use "
        f"them for half cycles of about {curve['iteration'].max():,} iterations."
    )
