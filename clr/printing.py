"""How numbers are printed: accuracies in percent, durations in the unit that fits."""

from __future__ import annotations

from math import isnan


def percent(mean: float | None, sd: float | None = None, digits: int = 1) -> str:
    """A fraction as printed: '81.4' or '81.4 ± 0.3'; '–' for a missing value."""
    if mean is None or isnan(mean):
        return "–"
    text = f"{100 * mean:.{digits}f}"
    return text if sd is None or isnan(sd) else f"{text} ± {100 * sd:.{digits}f}"


def duration(seconds: float) -> str:
    """'45 s', '12 min' or '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
