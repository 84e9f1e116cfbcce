"""The rates of interest, where nothing is known: two exponential ramps, and what they tell.

A fast one finds the rate at which the loss breaks, and a slow one below it sees where the loss
falls and where it turns. The rate at which it *turns* is the one at which a quarter of its fall
is lost again. The peak of a schedule that falls is a sixth of it, and the linear ramp of the
test ends at half of it.

The quarter, the sixth and the length of the slow ramp were chosen on tasks of
benchmarks/tasks.py. A tenth to a third, with a factor that suits it, and 12 to 14 octaves gave
nearly the same. One exponential ramp over all rates cannot stay at the rates of interest: where
a network learns nothing for a hundred steps, it does not see the fall.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from clr.policies import ExponentialRangeRamp, RangeRamp
from clr.range_test.bounds import EARLY, noise

FAST = ExponentialRangeRamp(1e-7, 1e3, 30)
BREAK = 2.0  # times the first losses: the loss breaks
OCTAVES, SLOW, LINEAR = 13, 170, 100  # of the slow ramp; iterations of it and of the linear one
WINDOW = 15  # iterations whose mean loss is looked at
CHANCE = 5.0  # standard deviations of such a mean: noise falls by so much in one of 100 cases
LOST = 0.25  # the share of the fall that is lost where the loss turns
PEAK, END = 6.0, 2.0  # what the turning rate is divided by
STEPS = FAST.iterations + SLOW + LINEAR


def slow_ramp(fast: pd.DataFrame) -> ExponentialRangeRamp:
    """The ramp up to the rate at which the loss broke in the curve of `FAST`."""
    highest = float(fast["lr"].iloc[-2])
    return ExponentialRangeRamp(highest / 2**OCTAVES, highest, SLOW)


def linear_ramp(slow: pd.DataFrame) -> RangeRamp:
    """The ramp of the range test, from the curve of the slow ramp."""
    return RangeRamp(0.0, turn(slow)[0] / END, LINEAR)


def turn(slow: pd.DataFrame) -> tuple[float, bool]:
    """(the rate at which the loss turns, whether it has fallen by more than its noise).

    Where it has not fallen, the rate is the one at which it has clearly risen; where it never
    turns, the last rate.
    """
    lr, losses = slow["lr"].to_numpy(float)[:-1], slow["train_loss"].to_numpy(float)[1:]
    there = np.isfinite(losses)
    lr, losses = lr[there], losses[there]
    if len(losses) < WINDOW:
        return float(slow["lr"].iloc[-1]), False
    means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid")
    lr = lr[WINDOW // 2 :]
    lowest = int(means.argmin())
    fall = means[0] - means[lowest]
    chance = CHANCE * noise(losses[: max(lowest + WINDOW, EARLY)]) / math.sqrt(WINDOW)
    clear = bool(fall > chance)
    turned = means[lowest:] > means[lowest] + (LOST * fall if clear else chance)
    row = lowest + int(turned.argmax()) if turned.any() else len(means) - 1
    return float(lr[row]), clear


def peak(slow: pd.DataFrame, rises: bool) -> float | None:
    """The highest rate for a schedule that falls.

    None if the model is not seen to get better, neither here nor on the linear ramp (`rises`).
    """
    rate, clear = turn(slow)
    return rate / PEAK if clear or rises else None
