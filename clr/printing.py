"""How numbers are printed: accuracies in percent, durations in the unit that fits."""

from __future__ import annotations

from math import isnan


def percent(
    mean: float | None, sd: float | None = None, digits: int = 1, times: float = 100
) -> str:
    """A fraction as printed: '81.4' or '81.4 ± 0.3'; '–' for a missing value.

    `times` is the factor to the unit that is printed, 1 for values that are no fractions.
    """
    if mean is None or isnan(mean):
        return "–"
    text = f"{times * mean:.{digits}f}"
    return text if sd is None or isnan(sd) else f"{text} ± {times * sd:.{digits}f}"


def duration(seconds: float) -> str:
    """'45 s', '12 min' or '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
