from math import isnan, nan

import pandas as pd
import pytest
from made import experiment, run
from scipy import stats

from clr.papers import claim, verdicts
from clr.papers.cyclical import TABLE1
from clr.papers.experiment import RELATIONS
from clr.papers.verdicts import Summary, decide, holm, interval, judge, p_value


def test_a_summary_of_runs():
    whole = Summary.of([run([0.1, 0.5, 0.8]), run([0.1, 0.6, 0.9])])
    assert (whole.n, whole.diverged) == (2, 0) and whole.mean == pytest.approx(0.85)
    assert whole.sd == pytest.approx(0.05 * 2**0.5) and whole.text() == "85.0 ± 7.1"
    assert Summary.of([run([0.1, 0.5, 0.8])], 10).text() == "50.0"
    assert Summary.of([]).text() == "not run"


def test_a_run_that_diverged_is_counted_and_never_averaged():
    broken = run([0.1, 0.7, 0.1], ended="diverged at iteration 17")
    both = Summary.of([run([0.1, 0.5, 0.9917]), broken])
    assert (both.n, both.diverged, both.mean) == (2, 1, 0.9917)
    assert both.text(2) == "99.17 (1 of 2 diverged)"
    assert Summary.of([broken]).text() == "– (1 of 1 diverged)"
    before = Summary.of([broken], 10)  # it had not diverged then
    assert (before.mean, before.diverged) == (0.7, 0)
    after = Summary.of([broken], 20)  # the test of what the divergence left
    assert (after.accuracies, after.diverged) == ((), 1)
    assert Summary.of([broken], 50).diverged == 1


def test_a_finished_run_has_no_accuracy_after_its_end():
    with pytest.raises(KeyError):
        Summary.of([run([0.1, 0.5])], 20)


def test_verdicts_are_computed_from_the_runs():
    some = experiment(
        arms=["triangular2", "fixed", "step"],
        claims=[
            claim("triangular2 better than fixed", "CLR Table 1"),
            claim("fixed better than fixed", "CLR Table 1", other_at=10),
            claim("triangular2 better than step"),
        ],
    )
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3 + a / 10, a]) for a in (0.70, 0.71)],
    }
    table = verdicts.table(some, runs)
    assert list(table["verdict"]) == ["reproduced", "reproduced", "not run"]
    assert table.index[0] == "triangular2 is better than fixed"
    assert table.index[1] == "fixed (20) is better than fixed (10)"
    assert table["difference"].iloc[0].startswith("+10.0 [+7.0, +13.0]")
    assert table["n"].iloc[0] == "2, 2" and table["who says it"].iloc[0] == "CLR Table 1"
    single = verdicts.table(some, runs | {"fixed": runs["fixed"][:1]})
    assert single["verdict"].iloc[0] == "undecided"
    assert single["difference"].iloc[0] == "+10.5 (no interval)"
    assert single["n"].iloc[0] == "2, 1 of 2"


def test_where_a_run_diverged_there_is_no_difference():
    asked = claim("triangular2 better than fixed")
    broken = run([0.1, 0.1], ended="diverged at iteration 3")
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)] + [broken],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    (row,) = judge(experiment(claims=[asked]), runs)
    assert row["verdict"] == "undecided" and row["points"] == "–" and row["low"] is None
    assert row["ours"].startswith("80.5 ± 0.7 (1 of 3 diverged) / ")


@pytest.mark.parametrize(
    ("relation", "low", "high", "expected"),
    [
        ("better than", 0.001, 0.01, "reproduced"),
        ("better than", 0.001, 0.004, "reproduced"),  # above 0, though below the margin
        ("better than", -0.001, 0.01, "undecided"),
        ("better than", -0.001, 0.006, "undecided"),
        ("better than", -0.001, 0.004, "not reproduced"),
        ("better than", -0.01, -0.001, "not reproduced"),
        ("not worse than", -0.004, 0.3, "reproduced"),
        ("not worse than", -0.006, 0.3, "undecided"),
        ("not worse than", -0.02, -0.006, "not reproduced"),
        ("as good as", -0.004, 0.004, "reproduced"),
        ("as good as", -0.004, 0.006, "undecided"),
        ("as good as", -0.006, 0.004, "undecided"),
        ("as good as", 0.006, 0.02, "not reproduced"),
        ("as good as", -0.02, -0.006, "not reproduced"),
        ("as good as", float("nan"), float("nan"), "undecided"),
    ],
)
def test_the_rule(relation, low, high, expected):
    assert decide(relation, low, high) == expected


def test_the_margin_is_the_claims_own():
    assert decide("not worse than", -0.001, 0.001) == "reproduced"
    assert decide("not worse than", -0.001, 0.001, margin=0.0005) == "undecided"


def test_the_interval_is_welchs():
    ours, others = [0.81, 0.82, 0.83, 0.81], [0.78, 0.80, 0.82]
    n, m = len(ours), len(others)
    shares = [pd.Series(each).var() / len(each) for each in (ours, others)]
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / (n - 1) + shares[1] ** 2 / (m - 1))
    half = sum(shares) ** 0.5 * stats.t.ppf(0.975, freedom)
    difference = sum(ours) / n - sum(others) / m
    assert interval(ours, others) == pytest.approx((difference - half, difference + half))
    assert all(map(isnan, interval([0.5, 0.5], [0.25, 0.25])))  # a tie is chance
    assert all(map(isnan, interval([0.5], [0.4, 0.5])))
    assert all(map(isnan, interval([0.5, 0.6], [0.4, 0.5], paired=True)))


def test_two_moments_of_the_same_runs_are_compared_in_pairs():
    asked = claim("a better than a", other_at=10)
    each = [run([0.1, 0.5, 0.6]), run([0.1, 0.4, 0.52]), run([0.1, 0.6, 0.67])]
    (row,) = judge(experiment(arms=["a"], claims=[asked]), {"a": each})
    ours, others = ([run.history["test_accuracy"][i] for run in each] for i in (2, 1))
    expected = stats.ttest_rel(ours, others).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["verdict"] == "yes" and min(ours) < max(others)


def test_an_arm_is_as_published_if_its_runs_are_within_the_margin_of_the_papers_number():
    asked = claim("fixed as published", "CLR Table 1")  # 0.814
    some = experiment(claims=[asked], seeds=3)  # it is called table1
    for near, word in ((0.814, "reproduced"), (0.80, "not reproduced"), (0.809, "undecided")):
        ends = [near + each for each in (-0.001, 0.0, 0.001)]
        (row,) = judge(some, {"fixed": [run([0.1, 0.5, end]) for end in ends]})
        low, high = stats.ttest_1samp(ends, 0.814).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((low - 0.814, high - 0.814))
        assert (row["verdict"], row["difference"]) == (word, pytest.approx(near - 0.814))
        assert row["claim"] == "fixed (20) is as published"
    (row,) = judge(some, {})
    assert row["verdict"] == "not run" and row["n"] == [0, 0]


def test_where_losses_are_compared_less_is_better():
    claims = [claim("a better than b", margin=0.02), claim("b better than a", margin=0.02)]
    some = experiment(arms="ab", claims=claims, measure="loss")
    runs = {
        arm: [run([0.1, 0.5], losses=[2.0, end + each]) for each in (-0.01, 0.01)]
        for arm, end in (("a", 1.5), ("b", 1.7))
    }
    better, worse = judge(some, runs)
    assert (better["verdict"], worse["verdict"]) == ("yes", "no")
    assert better["difference"] == pytest.approx(-0.2) and better["high"] < 0
    assert better["points"].startswith("-0.200 [-0.2")  # in nats
    assert (better["holm"], worse["holm"]) == ("yes", "yes")


def test_fewer_runs_than_planned_decide_nothing():
    asked = claim("triangular2 better than fixed")
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    for planned, word, said in ((2, "yes", "2, 2"), (3, "undecided", "2 of 3, 2 of 3")):
        (row,) = judge(experiment(claims=[asked], seeds=planned), runs)
        assert (row["verdict"], row["n_text"]) == (word, said)
        assert row["holm"] == ("yes" if word == "yes" else "–")


def test_a_question_of_ours_is_answered_with_yes_or_no():
    pairs = [("triangular2", "fixed"), ("fixed", "triangular2")]
    claims = [
        claim(f"{arm} better than {other}", source)
        for source in ("CLR Table 1", "control")
        for arm, other in pairs
    ]
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    rows = judge(experiment(claims=claims), runs)
    assert [row["verdict"] for row in rows] == ["reproduced", "not reproduced", "yes", "no"]
    assert all(row["holm"] == "yes" for row in rows)


def test_more_seeds_after_a_look_are_said():
    asked = claim("triangular2 better than fixed")
    (row,) = judge(experiment(claims=[asked], second_look=("fixed",)), {})
    assert row["n_text"] == "0 of 2, 0 of 2 (second look)"
    with pytest.raises(ValueError, match="an arm of second_look of table1 must be one of"):
        experiment(second_look=("decay",))


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("shift", [-0.02, -0.006, -0.003, 0.0, 0.003, 0.006, 0.02])
@pytest.mark.parametrize("paired", [False, True])
def test_the_p_value_is_where_the_rule_begins_to_decide(relation, shift, paired):
    """Just above that level its interval decides, just below it does not."""
    ours = [shift + 0.7 + each for each in (0.001, -0.002, 0.0, 0.002)]
    others = [0.7, 0.701, 0.7, 0.699]
    p = p_value(relation, ours, others, paired=paired)
    test = stats.ttest_rel if paired else lambda *a: stats.ttest_ind(*a, equal_var=False)

    def decided(at):
        found = test(ours, others).confidence_interval(1 - at)
        return decide(relation, found.low, found.high) != "undecided"

    if p < 0.999:
        assert decided(min(p * 1.001, 0.9999)) and not decided(p * 0.999)
    low, high = interval(ours, others, paired=paired)
    assert (decide(relation, low, high) != "undecided") == (p < 0.05)


def test_holms_correction():
    # 0.01 < 0.05 / 3, then 0.02 < 0.05 / 2, then 0.05 is not below 0.05
    assert holm([0.02, 0.05, 0.01]) == [True, False, True]
    # the second fails, so the third is not asked though it is below 0.05
    assert holm([0.03, 0.001, 0.04]) == [False, True, False]
    assert holm([nan, 0.04]) == [False, True] and holm([]) == []


def test_the_published_difference_lies_inside_or_outside():
    asked = TABLE1.claims[0]  # triangular2 and fixed, both published as 0.814
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    some = experiment(claims=[asked])  # it is called table1
    (row,) = judge(some, runs)
    assert row["published"] == "+0.0 (outside)" and row["theirs"] == "81.4 / 81.4"
    (row,) = judge(some, runs | {"fixed": runs["triangular2"][::-1]})
    assert row["published"] == "+0.0 (inside)"
    assert list(verdicts.table(some, runs)["published"]) == ["+0.0 (outside)"]
    middle = claim("triangular2 better than fixed", "CLR abstract", other_at=10)
    (row,) = judge(experiment(claims=[middle]), runs)
    assert row["published"] == row["theirs"] == "–"
    assert "published" not in verdicts.table(experiment(claims=[middle]), runs)
