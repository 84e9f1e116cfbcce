"""What the papers publish, beside what our runs say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from clr.data import ROOT
from clr.runs import Run


def published(place: str) -> pd.DataFrame:
    """The published numbers of one table or figure, from `data/published.csv`.

    Accuracies are fractions. Raises ValueError, naming the places there are.
    """
    table = pd.read_csv(ROOT / "data" / "published.csv", dtype={"paper": str})
    rows = table[table["place"] == place]
    if rows.empty:
        places = ", ".join(table["place"].unique())
        raise ValueError(f"place must be one of {places}; got {place!r}")
    return rows.reset_index(drop=True)


def percent(mean: float, sd: float | None = None) -> str:
    """A fraction as printed: '81.4' or '81.4 ± 0.3'; '–' for a missing value."""
    if pd.isna(mean):
        return "–"
    return (
        f"{100 * mean:.1f}"
        if sd is None or pd.isna(sd)
        else f"{100 * mean:.1f} ± {100 * sd:.1f}"
    )


def first_at(run: Run, accuracy: float) -> float:
    """The first recorded iteration with at least that test accuracy; NaN if never."""
    reached = run.history.loc[run.history["test_accuracy"] >= accuracy, "iteration"]
    return float(reached.iloc[0]) if len(reached) else float("nan")


def summary(runs: Mapping[str, Sequence[Run]], *, reach: float) -> pd.DataFrame:
    """One row a label: n, final test accuracy (mean ± sd, in percent), iterations, and
    the median iteration at which test accuracy first reached `reach` (a fraction).
    """
    rows = []
    for label, seeds in runs.items():
        finals = pd.Series([run.final_accuracy for run in seeds])
        reached = pd.Series([first_at(run, reach) for run in seeds])
        median = reached.fillna(float("inf")).median()
        rows.append(
            {
                "policy": label,
                "iterations": seeds[0].config.iterations,
                "n": len(seeds),
                "final accuracy, %": percent(finals.mean(), finals.std()),
                f"reached {100 * reach:g} %": f"{int(reached.notna().sum())} of {len(seeds)}",
                "at iteration (median)": "–" if median == float("inf") else f"{median:.0f}",
            }
        )
    return pd.DataFrame(rows).set_index("policy")


def beside(place: str, runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """The published rows of `place` beside our runs of the same policy.

    `comparable` says what stands between the two: other data, another number of
    iterations, or 'not run'. Without such a difference it says 'yes'.
    """
    titles = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST"}
    rows = []
    for row in published(place).itertuples():
        same = [label for label in runs if runs[label][0].config.policy.name == row.policy]
        text, difference = "–", ["not run"]
        if same:
            ours = runs[same[0]]
            finals = pd.Series([run.final_accuracy for run in ours])
            text = f"{same[0]}: {percent(finals.mean(), finals.std())} (n = {len(ours)})"
            config = ours[0].config
            data = titles.get(config.dataset, ours[0].data["name"])
            difference = [f"no: {data}"] if data != row.dataset else []
            if config.iterations != row.iterations:
                difference.append(f"{config.iterations:,} iterations")
        rows.append(
            {
                "policy": row.policy,
                "paper: data, iterations": f"{row.dataset}, {row.iterations:,}",
                "paper: setting": row.setting,
                "paper, %": percent(row.accuracy),
                "ours, %": text,
                "comparable": ", ".join(difference) or "yes",
            }
        )
    return pd.DataFrame(rows).set_index("policy")
