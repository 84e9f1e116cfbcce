"""The papers' published numbers, from `data/published.csv`, and the arms that repeat them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from clr.papers.experiment import Experiment
from clr.paths import ROOT

PUBLISHED = ROOT / "data" / "published.csv"


def numbers() -> pd.DataFrame:
    """Every published number, one per row, with its place in a paper and how it was read.

    `experiment` and `arm` name the arm of ours that repeats it; they are empty where there is
    none. Accuracies and standard deviations are fractions; the row of a range test has bounds
    instead. Lengths are in `iterations` or in `epochs`. `runs` is the number of runs that the
    accuracy is a mean of, 1 where the paper does not say that it is a mean.
    """
    return _read(PUBLISHED).copy()


@cache
def _read(file: Path) -> pd.DataFrame:
    types = {"paper": str, "iterations": "Int64", "epochs": "Int64", "runs": "Int64"}
    rows = pd.read_csv(file, dtype=types)
    return rows.fillna({"experiment": "", "arm": "", "setting": ""})


def of(experiment: Experiment) -> pd.DataFrame:
    """The published numbers that an experiment's arms repeat, indexed by arm.

    ValueError if there are several for one arm.
    """
    rows = numbers()
    rows = rows[(rows["experiment"] == experiment.name) & rows["arm"].isin(experiment.arms)]
    if not rows["arm"].is_unique:
        raise ValueError(f"{PUBLISHED} must have one number per arm of {experiment.name}")
    return rows.set_index("arm")
