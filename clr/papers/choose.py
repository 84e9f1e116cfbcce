"""The peak rate of each schedule, chosen by validation over a grid of rates.

An experiment over a grid has one arm per schedule and rate, named "SCHEDULE, RATE".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np

from clr.papers.experiment import Experiment
from clr.runs import Run
from clr.training import VALIDATION, VALIDATION_LOSS


def chosen(
    experiment: Experiment, runs: Mapping[str, Sequence[Run]]
) -> dict[str, tuple[float, float]]:
    """The rate of each schedule whose runs are best on the validation set, and their score.

    `runs` are the experiment's, by arm. A score is the mean over the runs of the last
    validation accuracy or, where the experiment compares losses, of minus the validation loss;
    it is minus infinity if a run diverged. ValueError, naming the schedule, if a planned run is
    missing, or if the best rate is the lowest or the highest of its grid, since a better one
    can lie outside. (`worth_it.chosen` takes the best rate of a reader's grid as it is.)
    """
    of_losses = experiment.measure == "loss"
    column, sign = (VALIDATION_LOSS, -1) if of_losses else (VALIDATION, 1)
    scores: dict[str, dict[float, float]] = {}
    for arm in experiment.arms:
        schedule, rate = arm.rsplit(", ", 1)
        each = [run.value(column) for run in runs.get(arm, ())]
        if len(each) < experiment.plan(arm):
            raise ValueError(
                f"runs must hold {experiment.plan(arm)} runs of {arm!r}, as {experiment.name} "
                f"plans; it has {len(each)}: {experiment.command([arm])}"
            )
        score = -inf if None in each else sign * float(np.mean(each))
        scores.setdefault(schedule, {})[float(rate)] = score
    best = {schedule: max(found, key=found.get) for schedule, found in scores.items()}
    for schedule, rate in best.items():
        lowest, highest = min(scores[schedule]), max(scores[schedule])
        if rate in (lowest, highest):
            further = rate / 2 if rate == lowest else 2 * rate
            raise ValueError(
                f"the rates of {schedule!r} in {experiment.name} must hold the best one "
                f"inside; it is {rate:g}, at the edge of {lowest:g} to {highest:g}. Add "
                f"{further:g} to the grid"
            )
    return {schedule: (rate, scores[schedule][rate]) for schedule, rate in best.items()}
