"""How much does the rate matter? A slider for the peak rate and a bar per schedule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clr.papers import colours, figures, icons
from clr.papers.sensitivity import Curve
from clr.papers.widgets.fragment import part, still
from clr.policies import Policy

DIGITS = 5  # of an accuracy, a fraction


def peak_rate(
    curves: Mapping[str, Curve],
    policies: Mapping[str, Policy],
    iterations: int,
    *,
    start: float | None = None,
) -> str:
    """A widget that shows each schedule's test accuracy at the peak rate that the reader sets.

    `curves` are the recorded accuracies by schedule, all at the same rates, as
    `clr.papers.worth_it.curves` gives them; `policies` holds a policy of each, for its icon and
    colour, and `iterations` is the length of the runs. Bars begin at the accuracy of
    guessing. `start` is one of the rates, at first the one that most schedules chose.
    ValueError without curves, for curves with different rates, and for another `start`.
    """
    grids = {curve.rates for curve in curves.values()}
    if len(grids) != 1:
        raise ValueError(f"curves must have the same rates, one or more; got {sorted(grids)}")
    (rates,) = grids
    chosen = [curve.chosen for curve in curves.values()]
    start = max(rates, key=chosen.count) if start is None else start
    if start not in rates:
        raise ValueError(f"start must be one of {', '.join(map(str, rates))}; got {start}")
    counts = {curve.test.shape[1] for curve in curves.values()}
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    runs = sum(curve.test.size for curve in curves.values())
    note = (
        f"{runs:,} recorded runs of {iterations:,} iterations, {seeds} per schedule and rate. "
        "A bar ends at the mean, and a dot is a run; the dotted line is the schedule's best "
        "mean. Between two tested rates, accuracy is interpolated."
    )
    if any(any(curve.failed) for curve in curves.values()):
        note += " ✕: a run failed there, that is, it ended no better than guessing."
    data = {
        "rates": rates,
        "chance": 0.1,  # of ten classes
        "start": rates.index(start),
        "schedules": [
            {
                "name": name,
                "colour": colours.css(policies[name]),
                "icon": icons.path(policies[name], iterations),
                "accuracy": np.round(curve.test, DIGITS).tolist(),
                "failed": curve.failed,
            }
            for name, curve in curves.items()
        ],
        "hint": "Move the peak rate. Which schedule loses most when the rate is too high?",
        "note": note,
    }
    with still() as (figure, (ax,)):
        figures.sensitivity(curves, policies, ax=ax)
    alt = f"Test accuracy against the peak rate, for {len(curves)} schedules."
    title = "How much does the rate matter?"
    return part("peak", title, data, figure, alt)
