"""Rate and accuracy together: a slider over the iterations moves along both, run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clr import checks
from clr.papers import colours, icons
from clr.papers.widgets.fragment import part, still
from clr.runs import Run

SCALE = 10_000  # accuracies are in units of one image of 10,000, which are short as JSON
DASHES = {"-": "", "--": "7 4", ":": "2 3", "-.": "8 3 2 3"}  # matplotlib's, and SVG's


def _arm(name: str, runs: Sequence[Run], dash: str) -> dict:
    """One arm: its rate, and the tested accuracies of its runs."""
    config = runs[0].config
    longest = max((run.history for run in runs), key=len)
    t, rates = icons.curve(config.policy, config.iterations)
    return {
        "name": name,
        "colour": colours.css(config.policy),
        "icon": icons.path(config.policy, config.iterations),
        "dash": DASHES[dash],
        "rate": [t.tolist(), [float(f"{rate:.6g}") for rate in rates]],
        "t": longest["iteration"].tolist(),
        "lr": [float(f"{rate:.6g}") for rate in longest["lr"]],
        "runs": [{"seed": run.config.seed, "accuracy": _accuracies(run)} for run in runs],
    }


def _accuracies(run: Run) -> list[int]:
    """The tests of a run in units of 1 / `SCALE`, without the last one if it diverged."""
    values = run.history["test_accuracy"].to_numpy()
    tested = values[:-1] if run.diverged else values
    return np.rint(SCALE * tested).astype(int).tolist()


def rate_and_accuracy(
    runs: Mapping[str, Sequence[Run]], shown: Sequence[str] | None = None
) -> str:
    """A widget that moves along the rate and the test accuracy of recorded runs.

    `runs` are by arm, as `Experiment.recorded` gives them; the runs of an arm have the same
    config but for their seed. `shown` names the arms that are seen first, by default the first
    two. ValueError without runs, and for an arm that has none.
    """
    if not runs:
        raise ValueError("runs must hold at least one arm; it is empty")
    shown = list(runs)[:2] if shown is None else list(shown)
    for name in shown:
        checks.one_of("an arm in shown", name, runs)
    styles = colours.styles({name: each[0].config.policy for name, each in runs.items()})
    arms = [_arm(name, each, styles[name]["linestyle"]) for name, each in runs.items()]
    data = {
        "scale": SCALE,
        "arms": arms,
        "shown": shown,
        "hint": "Move along the iterations. What does accuracy do when the rate falls?",
        "note": (
            "Each thin line is a run. The rate is the one that the optimizer held at that "
            "test. The axis of accuracy does not begin at 0."
        ),
    }
    with still(2) as (figure, (above, below)):
        for arm in (arm for arm in arms if arm["name"] in shown):
            style = styles[arm["name"]]
            above.plot(*arm["rate"], label=arm["name"], **style)
            for run in arm["runs"]:
                percent = [100 * value / SCALE for value in run["accuracy"]]
                below.plot(arm["t"][: len(percent)], percent, lw=0.9, **style)
        above.set(ylabel="rate", ylim=(0, None))
        below.set(xlabel="iteration", ylabel="test accuracy, %")
        below.xaxis.set_major_formatter("{x:,.0f}")
        above.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    alt = f"Learning rate and test accuracy against iteration: {' and '.join(shown)}."
    title = "Rate and accuracy together"
    return part("along", title, data, figure, alt)
