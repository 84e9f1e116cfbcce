import csv

import pandas as pd
import pytest

from clr import claims
from clr.data import ROOT
from clr.policies import Fixed, Triangular2
from clr.runs import Run
from clr.training import COLUMNS, RunConfig


def run(accuracies, policy=None, **values):
    config = RunConfig(policy or Fixed(0.1), 10 * (len(accuracies) - 1), **values)
    rows = [[10 * i, 0.1, 1.0, 1.0, accuracy] for i, accuracy in enumerate(accuracies)]
    return Run(
        config,
        pd.DataFrame(rows, columns=COLUMNS),
        "finished",
        {"name": config.dataset},
        {},
        ROOT,
    )


def test_published_numbers_are_fractions_with_a_source():
    with open(ROOT / "data" / "published.csv") as file:
        rows = list(csv.DictReader(file))
    assert all(0.5 < float(row["accuracy"]) < 1 and row["source"] for row in rows)
    table = claims.published("Table 1").set_index("policy")["accuracy"]
    assert table["triangular2"] == 0.814 and table["exp_range"] == 0.822
    with pytest.raises(ValueError, match="place must be one of Table 1, Fig. 1a; got 'x'"):
        claims.published("x")


def test_percent():
    assert claims.percent(0.8141) == "81.4"
    assert claims.percent(0.8141, 0.0032) == "81.4 ± 0.3"
    assert claims.percent(float("nan")) == "–"


def test_summary():
    runs = {
        "quick": [run([0.1, 0.6, 0.8]), run([0.1, 0.4, 0.6])],
        "never": [run([0.1, 0.2, 0.3])],
    }
    table = claims.summary(runs, reach=0.5)
    assert table.loc["quick"].tolist() == [20, 2, "70.0 ± 14.1", "2 of 2", "15"]
    assert table.loc["never"].tolist() == [20, 1, "30.0", "0 of 1", "–"]


def test_beside_says_what_stands_between():
    paper = Triangular2(0.001, 0.006, 2000)
    same = run([0.8] * 2501, paper, dataset="cifar10")
    other = run([0.7] * 101, paper)
    yes = claims.beside("Table 1", {"t2": [same]})
    assert yes.loc["triangular2", "comparable"] == "yes"
    assert yes.loc["triangular2", "ours, %"] == "t2: 80.0 (n = 1)"
    assert yes.loc["fixed", "comparable"] == "not run"
    no = claims.beside("Table 1", {"t2": [other]})
    assert no.loc["triangular2", "comparable"] == "no: digits, 1,000 iterations"
