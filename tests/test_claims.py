import csv
from dataclasses import replace

import pandas as pd
import pytest
from scipy import stats

from clr import claims, tables
from clr.experiments import EXPERIMENTS
from clr.paths import ROOT
from clr.policies import Fixed
from clr.runs import Run
from clr.training import COLUMNS, RunConfig


def run(accuracies, policy=None, **values):
    config = RunConfig(policy or Fixed(0.1), 10 * (len(accuracies) - 1), **values)
    rows = [[10 * i, 0.1, 1.0, 1.0, accuracy] for i, accuracy in enumerate(accuracies)]
    return Run(
        config,
        pd.DataFrame(rows, columns=COLUMNS),
        "finished",
        {"name": config.dataset, "train": 8, "test": 2},
        {"seconds": 7200, "device": "CPU", "threads": 1, "torch": "2"},
        ROOT,
    )


def test_published_numbers_are_fractions_with_a_source():
    with open(ROOT / "data" / "published.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({tuple(row.values()) for row in rows}) == len(rows) > 60
    for row in rows:
        assert row["source"] and (row["accuracy"] or (row["base_lr"] and row["max_lr"]))
        assert 0.5 < float(row["accuracy"] or 0.9) < 1 and 0 <= float(row["sd"] or 0) < 0.02
        assert row["place"].startswith({"1506.01186": "CLR", "1708.07120": "SC"}[row["paper"]])
    table = tables.published("CLR Table 1").set_index("policy")["accuracy"]
    assert table["triangular2"] == 0.814 and table["exp_range"] == 0.822
    mnist = tables.published("SC Table 2", "MNIST").set_index("arm")["accuracy"]
    assert len(mnist) == 6 and mnist["1cycle, 12 epochs"] == 0.9925
    less = tables.published("SC Table 1").set_index("arm")["accuracy"]
    assert len(less) == 8 and less["one cycle, 20,000 images"] == 0.879
    assert (
        tables.published("SC Fig. 4b").set_index("arm")["accuracy"]["step, resnet20"] == 0.886
    )
    assert len(tables.published()) == len(rows)
    with pytest.raises(ValueError, match="place must be one of CLR Table 1, .*; got 'x'"):
        tables.published("x")
    with pytest.raises(ValueError, match="dataset must be one of CIFAR-10, Im.*; got 'MNIST'"):
        tables.published("CLR Table 1", "MNIST")


def test_percent():
    assert tables.percent(0.8141) == "81.4"
    assert tables.percent(0.8141, 0.0032) == "81.4 ± 0.3"
    assert tables.percent(0.9925, 0.0003, digits=2) == "99.25 ± 0.03"
    assert tables.percent(float("nan")) == "–"


def test_table_has_a_row_an_arm_also_when_it_was_not_run():
    arms = {
        "fixed": [RunConfig(Fixed(0.1), 20)],
        "exp_range": [RunConfig(Fixed(0.2), 30)],
        "mine": [RunConfig(Fixed(0.3), 20)],
    }
    runs = {"fixed": [run([0.1, 0.5, 0.8]), run([0.1, 0.5, 0.9])], "mine": [run([0.1, 0.4])]}
    table = tables.results("CLR Table 1", arms, runs)
    assert list(table.columns)[-1] == "time"  # none diverged
    assert table.loc["fixed"].tolist() == ["70,000", "81.4", "20", "85.0 ± 7.1", 2, "2.0 h"]
    assert table.loc["exp_range"].tolist() == ["42,000", "82.2", "30", "not run", 0, "–"]
    assert table.loc["mine"].tolist() == ["–", "–", "20", "40.0", 1, "2.0 h"]
    own = tables.results(None, arms, runs)
    assert list(own.columns) == ["our iterations", "ours, %", "n", "time"]
    broken = replace(run([0.1, 0.1]), ended="diverged at iteration 3")
    table = tables.results("CLR Table 1", arms, runs | {"mine": [broken]})
    assert table.loc["mine", "diverged"] == "1 of 1" and table.loc["fixed", "diverged"] == ""


def test_a_place_with_several_numbers_for_an_arm_is_refused():
    with pytest.raises(ValueError, match="one number an arm; got 'SC Table 2' with several of"):
        tables.results("SC Table 2", {"step": [RunConfig(Fixed(0.1), 20)]}, {})


def test_made_on_names_data_and_machine():
    runs = {"a": [run([0, 0.1]), run([0, 0.2])], "b": [run([0, 1], dataset="cifar10")]}
    assert tables.made_on(runs) == [
        "CIFAR-10 (8 + 2 images), on a CPU, threads: 1, torch 2",
        "digits (8 + 2 images), on a CPU, threads: 1, torch 2",
    ]


def test_verdicts_are_computed_from_the_runs():
    arms = {name: [RunConfig(Fixed(0.1), 20)] for name in ("fixed", "triangular2", "step")}
    some = [
        claims.Claim("x", "triangular2", "better than", "fixed"),
        claims.Claim("x", "fixed", "better than", "fixed", None, 100),
        claims.Claim("x", "triangular2", "better than", "step"),
        claims.Claim("x", "triangular2", "better than", "cosine"),
    ]
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    table = claims.verdicts(some, arms, runs, shorter=10)
    assert list(table["verdict"]) == ["reproduced", "reproduced", "not run"]
    assert table.index[0] == "triangular2 at 20 is better than fixed at 20"
    assert table.index[1] == "fixed at 20 is better than fixed at 10"
    assert table["difference"].iloc[0].startswith("+10.0 [+7.0, +13.0]")
    assert table["n"].iloc[0] == "2, 2"
    single = claims.verdicts(some[:1], arms, runs | {"fixed": runs["fixed"][:1]})
    assert single["verdict"].iloc[0] == "undecided"
    assert single["difference"].iloc[0] == "+10.5 (no interval)"
    with pytest.raises(KeyError):
        claims.verdicts([some[1]], arms, runs, shorter=7)


@pytest.mark.parametrize(
    ("relation", "low", "high", "expected"),
    [
        ("better than", 0.001, 0.01, "reproduced"),
        ("better than", -0.001, 0.01, "undecided"),
        ("better than", -0.01, -0.001, "not reproduced"),
        ("not worse than", -0.004, 0.3, "reproduced"),
        ("not worse than", -0.006, 0.3, "undecided"),
        ("not worse than", -0.02, -0.006, "not reproduced"),
        ("as good as", -0.004, 0.004, "reproduced"),
        ("as good as", -0.004, 0.006, "undecided"),
        ("as good as", 0.006, 0.02, "not reproduced"),
        ("as good as", float("nan"), float("nan"), "undecided"),
    ],
)
def test_verdicts(relation, low, high, expected):
    assert claims.verdict(relation, low, high) == expected


def test_the_interval_is_welchs():
    ours, others = [0.81, 0.82, 0.83, 0.81], [0.78, 0.80, 0.82]
    expected = stats.ttest_ind(ours, others, equal_var=False).confidence_interval(0.95)
    assert claims.interval(ours, others) == pytest.approx(tuple(expected))
    assert all(map(pd.isna, claims.interval([0.5, 0.5], [0.25, 0.25])))  # a tie is chance
    assert all(map(pd.isna, claims.interval([0.5], [0.4, 0.5])))


def test_two_moments_of_the_same_runs_are_compared_in_pairs():
    runs = {"a": [run([0.1, 0.5, 0.6]), run([0.1, 0.4, 0.52]), run([0.1, 0.6, 0.67])]}
    arms = {"a": [each.config for each in runs["a"]]}
    (row,) = claims.judged([claims.Claim("x", "a", "better than", "a", None, 10)], arms, runs)
    expected = stats.ttest_rel(row["ours"], row["others"]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["verdict"] == "reproduced" and min(row["ours"]) < max(row["others"])


def test_a_run_that_diverged_later_counts_where_it_was():
    broken = replace(run([0.1, 0.7, 0.2]), ended="diverged at iteration 17")
    assert claims.accuracies([broken], 10) == [0.7]
    assert claims.accuracies([broken], 50) == [0.2]


def test_the_margin_is_the_claims_own():
    assert claims.verdict("not worse than", -0.001, 0.001) == "reproduced"
    assert claims.verdict("not worse than", -0.001, 0.001, margin=0.0005) == "undecided"


@pytest.mark.parametrize(
    ("name", "rules", "scale"),
    [
        ("table1", claims.TABLE1, 1),
        ("laptop", claims.LAPTOP, 1),
        ("superconvergence", claims.SUPERCONVERGENCE, 1),
        ("superconvergence_more", claims.SUPERCONVERGENCE_MORE, 1),
        ("superconvergence_small", claims.SUPERCONVERGENCE, 1),
        ("mnist", claims.MNIST, 1),
        ("stepsize", claims.STEPSIZE, 1),
    ],
)
def test_every_claim_is_about_arms_of_the_experiment(name, rules, scale):
    arms = EXPERIMENTS[name][0]("digits", 1)
    for claim in rules:
        for arm, at in ((claim.arm, claim.at), (claim.other, claim.other_at)):
            config = arms[arm][0]
            assert at is None or at // scale % config.test_every == 0


def test_durations():
    assert [tables.duration(s) for s in (7, 400, 9000)] == ["7 s", "7 min", "2.5 h"]
