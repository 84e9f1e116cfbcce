"""Read the range test: the reader sets two bounds, and then sees the other readings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clr.papers import colours
from clr.papers.widgets.fragment import part, still
from clr.range_test import RangeTest

DIGITS = 5


def _curve(lr: Sequence[float], values: Sequence[float]) -> dict[str, list[float]]:
    there = np.isfinite(values)
    return {
        "lr": [float(f"{rate:.6g}") for rate in np.asarray(lr)[there]],
        "accuracy": np.round(np.asarray(values)[there], DIGITS).tolist(),
    }


def range_reading(test: RangeTest, paper: tuple[float, float] | None = None) -> str:
    """A widget in which the reader reads a range test before seeing how others read it.

    The other readings are the rule's (`RangeTest.bounds`), the paper's bounds if they are
    given, and the rule's for every seed that has both bounds. ValueError if the rule gives no
    bounds for this test.
    """
    found = test.bounds()
    if found.base_lr is None or found.max_lr is None:
        raise ValueError(f"test must be one that the rule can read; it says: {found.why}")
    watched = test.watched
    median = test.column(watched).median(axis=1)
    pairs = {"the rule": (found.base_lr, found.max_lr)}
    if paper is not None:
        pairs["the paper"] = float(paper[0]), float(paper[1])
    readings = [{"name": name, "bounds": pair} for name, pair in pairs.items()]
    readings += [
        {"name": f"seed {i}", "bounds": pair, "kind": "seed"}
        for i, pair in enumerate(found.seeds)
        if None not in pair
    ]
    end = max(float(curve["lr"].iloc[-1]) for curve in test.curves)
    data = {
        "end": float(f"{end:.6g}"),
        "watched": watched.replace("_", " "),
        "colour": colours.css("range_ramp"),
        "curves": [_curve(curve["lr"], curve[watched]) for curve in test.curves],
        "median": _curve(median.index, median),
        "readings": readings,
        "hint": (
            "Drag base_lr to where accuracy begins to rise, and max_lr to where the rise slows "
            "down. Then compare."
        ),
        "note": (
            f"Thin lines: {len(test.curves)} seeds. Thick line: their median. The rule takes a "
            "quarter and nine tenths of each seed's rise, and then the medians."
        ),
    }
    with still() as (figure, (ax,)):
        test.plot(found, ax=ax)
    alt = f"A range test: {data['watched']} against the learning rate, with the rule's bounds."
    return part("reading", "Read the range test", data, figure, alt)
