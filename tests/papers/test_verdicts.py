from dataclasses import replace
from math import isnan, nan

import numpy as np
import pandas as pd
import pytest
from made import experiment, run
from scipy import stats

from clr.papers import EXPERIMENTS, Arm, claim, verdicts
from clr.papers.cyclical import TABLE1
from clr.papers.experiment import HOLDS, RELATIONS
from clr.papers.verdicts import Summary, holm, interval, judge, prediction, verdict
from clr.paths import ROOT
from clr.policies import Fixed
from clr.runs import Store


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
        "fixed": [run([0.1, 0.3 + a / 10, a], seed=i) for i, a in enumerate((0.70, 0.71))],
    }
    table = verdicts.table(some, runs)
    assert list(table["verdict"]) == ["better", "better", "not run"]
    assert table.index[0] == "triangular2 is better than fixed"
    assert table.index[1] == "fixed (20) is better than fixed (10)"
    assert table["difference"].iloc[0].startswith("+10.0 [+7.0, +13.0]")
    assert table["n"].iloc[0] == "2, 2" and table["who says it"].iloc[0] == "CLR Table 1"
    assert set(table["written"]) == {"before"}
    single = verdicts.table(some, runs | {"fixed": runs["fixed"][:1]})
    assert single["verdict"].iloc[0] == "undecided"
    assert single["difference"].iloc[0] == "+10.5 (no interval)"
    assert single["n"].iloc[0] == "2, 1 of 2"


def gone(n):
    """`n` runs that diverged."""
    each = [run([0.1, 0.1], ended="diverged at iteration 3", seed=10 + i) for i in range(n)]
    return each


@pytest.mark.parametrize(
    ("ours", "others", "words"),
    [
        # the second arm is far below the first
        (0, 0, ["better", "not worse", "different"]),
        (1, 0, ["worse", "worse", "different"]),
        (0, 1, ["better", "not worse", "different"]),
        (1, 1, ["better", "not worse", "different"]),
    ],
)
def test_a_run_that_diverged_counts_against_the_claim_of_its_arm(ours, others, words):
    relations = ["better than", "not worse than", "as good as"]
    claims = [claim(f"triangular2 {relation} fixed") for relation in relations]
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)] + gone(ours),
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)] + gone(others),
    }
    rows = judge(experiment(claims=claims), runs)
    assert [row["verdict"] for row in rows] == words
    assert [row["holds"] for row in rows] == [word in HOLDS for word in words]
    better = rows[0]
    assert better["n"] == [2 + ours, 2 + others] and better["diverged"] == [ours, others]
    if ours > others:  # it is not a test that decides
        assert better["points"] == "1 of 3 diverged" and better["p"] is better["low"] is None
        assert (
            better["holm"] == "–"
            and better["ours"] == "80.5 ± 0.7 (1 of 3 diverged) / 70.5 ± 0.7"
        )
    else:  # the others are compared
        assert better["difference"] == pytest.approx(0.1) and better["holm"] == "yes"


def test_runs_of_the_other_arm_that_diverged_do_not_make_a_claim_fail():
    claims = [claim("fixed better than triangular2"), claim("fixed not worse than triangular2")]
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    words = [row["verdict"] for row in judge(experiment(claims=claims), runs)]
    assert words == ["worse", "worse"]
    runs["triangular2"] += gone(1)
    rows = judge(experiment(claims=claims), runs)
    assert [row["verdict"] for row in rows] == ["undecided", "undecided"]
    assert rows[0]["difference"] == pytest.approx(-0.1)


def test_arms_of_which_all_runs_diverged_are_undecided():
    (row,) = judge(
        experiment(claims=[claim("triangular2 better than fixed")]),
        {"triangular2": gone(2), "fixed": gone(2)},
    )
    assert (row["verdict"], row["points"]) == ("undecided", "2 of 2 diverged, 2 of 2 diverged")


def samples(low, high, confidence):
    """Two arms of three runs, with this interval of the difference of their means."""
    base = [-1.0, 0.0, 1.0]
    half = interval(base, base, confidence=confidence)[1]
    spread = [each * (high - low) / 2 / half for each in base]
    return [0.5 + (low + high) / 2 + each for each in spread], [0.5 + each for each in spread]


@pytest.mark.parametrize(
    ("relation", "low", "high", "expected"),
    [
        ("better than", 0.001, 0.01, "better"),
        ("better than", 0.006, 0.01, "better"),
        ("better than", 0.001, 0.004, "gain below the margin"),
        ("better than", -0.001, 0.004, "gain below the margin"),
        ("better than", -0.001, 0.006, "undecided"),
        ("better than", -0.01, 0.01, "undecided"),
        ("better than", -0.01, -0.001, "worse"),
        ("not worse than", -0.004, 0.3, "not worse"),
        ("not worse than", -0.006, 0.3, "undecided"),
        ("not worse than", -0.02, -0.006, "worse"),
        ("as good as", -0.004, 0.004, "as good"),
        ("as good as", 0.001, 0.004, "as good"),
        ("as good as", -0.004, 0.006, "undecided"),
        ("as good as", -0.006, 0.004, "undecided"),
        ("as good as", 0.006, 0.02, "different"),
        ("as good as", -0.02, -0.006, "different"),
        ("as published", -0.004, 0.004, "as published"),
        ("as published", -0.02, -0.006, "different"),
    ],
)
def test_the_rule(relation, low, high, expected):
    confidence = 0.9 if relation.startswith("as ") else 0.95
    word, p = verdict(relation, *samples(low, high, confidence))
    assert word == expected and (p < 0.05) == (word != "undecided")


def test_without_an_interval_nothing_is_decided():
    for pair in (([0.5], [0.4, 0.41]), ([0.5, 0.5], [0.4, 0.4])):
        word, p = verdict("better than", *pair)
        assert word == "undecided" and isnan(p)


def test_the_margin_is_the_claims_own():
    pair = samples(-0.001, 0.001, 0.95)
    assert verdict("not worse than", *pair)[0] == "not worse"
    assert verdict("not worse than", *pair, margin=0.0005)[0] == "undecided"


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
    histories = [0.1, 0.5, 0.6], [0.1, 0.4, 0.52], [0.1, 0.6, 0.67]
    each = [run(values, seed=seed) for seed, values in enumerate(histories)]
    (row,) = judge(experiment(arms=["a"], claims=[asked]), {"a": each})
    ours, others = ([run.history["test_accuracy"][i] for run in each] for i in (2, 1))
    expected = stats.ttest_rel(ours, others).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["verdict"] == "better" and min(ours) < max(others)


def test_an_arm_is_as_published_if_its_runs_are_within_the_margin_of_the_papers_number():
    asked = claim("fixed as published", "CLR Table 1")  # 0.814
    some = experiment(claims=[asked], seeds=3)  # it is called table1
    for near, word in ((0.814, "as published"), (0.80, "different"), (0.809, "undecided")):
        ends = [near + each for each in (-0.001, 0.0, 0.001)]
        (row,) = judge(some, {"fixed": [run([0.1, 0.5, end]) for end in ends]})
        low, high = stats.ttest_1samp(ends, 0.814).confidence_interval(0.9)
        assert (row["low"], row["high"]) == pytest.approx((low - 0.814, high - 0.814))
        assert (row["verdict"], row["difference"]) == (word, pytest.approx(near - 0.814))
        assert row["claim"] == "fixed (20) is as published"
        assert (row["n"], row["n_text"], row["theirs"]) == ([3], "3", "81.4")
        assert row["points"].endswith("] (90 %)")
    (row,) = judge(some, {})
    assert (row["verdict"], row["n"]) == ("not run", [0])


def test_where_losses_are_compared_less_is_better():
    claims = [claim("a better than b", margin=0.02), claim("b better than a", margin=0.02)]
    some = experiment(arms="ab", claims=claims, measure="loss")
    runs = {
        arm: [run([0.1, 0.5], losses=[2.0, end + each]) for each in (-0.01, 0.01)]
        for arm, end in (("a", 1.5), ("b", 1.7))
    }
    better, worse = judge(some, runs)
    assert (better["verdict"], worse["verdict"]) == ("better", "worse")
    assert better["difference"] == pytest.approx(-0.2) and better["high"] < 0
    assert better["points"].startswith("-0.200 [-0.2")  # in nats
    assert better["ours"] == "1.500 ± 0.014 / 1.700 ± 0.014"
    assert (better["holm"], worse["holm"]) == ("yes", "yes")


def test_fewer_runs_than_planned_decide_nothing():
    asked = claim("triangular2 better than fixed")
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    for planned, word, said in ((2, "better", "2, 2"), (3, "undecided", "2 of 3, 2 of 3")):
        (row,) = judge(experiment(claims=[asked], seeds=planned), runs)
        assert (row["verdict"], row["n_text"]) == (word, said)
        assert row["holm"] == ("yes" if word == "better" else "–")


def test_a_paper_and_we_get_the_same_words():
    claims = [
        claim(f"{arm} better than {other}", *source)
        for source in (("CLR Table 1",), ())
        for arm, other in (("triangular2", "fixed"), ("fixed", "triangular2"))
    ]
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    rows = judge(experiment(claims=claims), runs)
    assert [row["verdict"] for row in rows] == ["better", "worse"] * 2
    assert [row["holds"] for row in rows] == [True, False] * 2
    assert [row["source"] for row in rows] == ["CLR Table 1"] * 2 + ["our question"] * 2
    assert [row["holm"] for row in rows] == ["yes"] * 2 + ["secondary"] * 2


def test_more_seeds_after_a_look_are_said():
    asked = claim("triangular2 better than fixed")
    (row,) = judge(experiment(claims=[asked], second_look=("fixed",)), {})
    assert row["n_text"] == "0 of 2, 0 of 2 (second look)"
    with pytest.raises(ValueError, match="an arm of second_look of table1 must be one of"):
        experiment(second_look=("decay",))


def by_intervals(relation, low, high, margin=0.005):
    """The rule as `clr.papers.verdicts` states it, for an interval."""
    if relation == "better than":
        if high < 0:
            return "worse"
        if high < margin:
            return "gain below the margin"
        return "better" if low > 0 else "undecided"
    if relation == "not worse than":
        return "not worse" if low > -margin else "worse" if high < -margin else "undecided"
    if -margin < low and high < margin:
        return relation.removesuffix(" as")
    return "different" if high < -margin or margin < low else "undecided"


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("shift", [-0.02, -0.006, -0.003, 0.0, 0.003, 0.006, 0.02])
@pytest.mark.parametrize("paired", [False, True])
def test_the_p_value_is_the_level_at_which_the_verdict_begins(relation, shift, paired):
    """Just above that level the interval gives the verdict, just below it does not."""
    ours = [shift + 0.7 + each for each in (0.001, -0.002, 0.0, 0.002)]
    others = [0.7, 0.701, 0.7, 0.699]
    word, p = verdict(relation, ours, others, paired=paired)
    sides = 1 if relation.startswith("as ") else 2  # tests at the level, or at half of it

    def at(level):
        confidence = 1 - 2 * level / sides
        return by_intervals(
            relation, *interval(ours, others, paired=paired, confidence=confidence)
        )

    assert at(0.05) == word
    if word != "undecided" and p > 1e-12:
        assert at(p * 1.001) != "undecided"
        assert at(p * 0.999) != word


def test_holms_correction():
    # 0.01 < 0.05 / 3, then 0.02 < 0.05 / 2, then 0.05 is not below 0.05
    assert holm([0.02, 0.05, 0.01]) == [True, False, True]
    # the second fails, so the third is not asked though it is below 0.05
    assert holm([0.03, 0.001, 0.04]) == [False, True, False]
    assert holm([nan, 0.04]) == [False, True] and holm([]) == []


def test_holms_correction_is_made_among_the_primary_claims():
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.802, 0.804)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.794, 0.797, 0.7)],
        "step": [run([0.1, 0.3, a]) for a in (0.795, 0.797, 0.799)],
    }
    paper = claim("triangular2 better than step", "CLR Table 1")  # p is between 0.025 and 0.05
    ours = claim("triangular2 better than fixed")

    def said(*claims):
        rows = judge(experiment(list(runs), claims, seeds=3), runs)
        return [(row["primary"], row["holm"]) for row in rows]

    assert 0.025 < judge(experiment(list(runs), [paper], seeds=3), runs)[0]["p"] < 0.05
    # a claim of a paper is primary, and a question of ours beside it is not
    assert said(paper, ours) == [(True, "yes"), (False, "secondary")]
    # unless a claim says so itself
    assert said(paper, replace(ours, primary=True)) == [(True, "no"), (True, "–")]
    assert said(replace(paper, primary=False), ours) == [(False, "secondary")] * 2
    # all questions of ours are primary where no claim is a paper's
    other = replace(paper, source=ours.source)
    assert said(other, ours) == [(True, "no"), (True, "–")]
    # unless one of them says so itself
    assert said(replace(other, primary=True), ours) == [(True, "yes"), (False, "secondary")]


def test_tests_of_the_same_weights_are_compared_in_pairs():
    arms = {
        "slow": Arm(Fixed(0.1), 20, {"bn_fraction": 0.99}),
        "quick": Arm(Fixed(0.1), 20, {"bn_fraction": 0.9, "test_every": 5}),
        "other": Arm(Fixed(0.2), 20),
    }
    claims = [claim(f"slow better than {other}") for other in ("quick", "other")]
    some = experiment(arms, claims, settings={"model": "resnet8", "test_every": 10}, seeds=3)
    assert [some.paired(each) for each in claims] == [True, False]

    def of(ends):
        return [run([0.1, 0.5, end], seed=seed) for seed, end in ends.items()]

    slow, quick = of({0: 0.8, 1: 0.6, 2: 0.7}), of({2: 0.69, 1: 0.595, 0: 0.785, 3: 0.2})
    (row, _) = judge(some, {"slow": slow, "quick": quick, "other": quick})
    expected = stats.ttest_rel([0.8, 0.6, 0.7], [0.785, 0.595, 0.69]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["verdict"] == "undecided" or row["low"] > 0


def test_a_prediction_interval_holds_95_percent_of_further_runs():
    random = np.random.default_rng(0)
    for averaged in ((1, 1), (4, 2)):
        inside = 0
        for _ in range(2000):
            ours, others = random.normal(0.7, 0.01, 5), random.normal(0.6, 0.03, 4)
            low, high = prediction(ours, others, averaged)
            further = random.normal(0.7, 0.01 / averaged[0] ** 0.5) - random.normal(
                0.6, 0.03 / averaged[1] ** 0.5
            )
            inside += low < further < high
        assert 0.93 < inside / 2000 < 0.97
    assert all(map(isnan, prediction([0.5], [0.4, 0.41])))
    # one arm against a number: the t interval of one further run
    low, high = prediction([0.5, 0.52], [0.4, 0.4])
    half = 12.7062 * 0.02 / 2**0.5 * 1.5**0.5
    assert (low, high) == pytest.approx((0.11 - half, 0.11 + half), rel=1e-4)


def test_the_published_difference_lies_inside_or_outside():
    asked = TABLE1.claims[0]  # triangular2 and fixed, both published as 0.814
    runs = {
        "triangular2": [run([0.1, 0.5, a]) for a in (0.80, 0.81)],
        "fixed": [run([0.1, 0.3, a]) for a in (0.70, 0.71)],
    }
    some = experiment(claims=[asked])  # it is called table1
    (row,) = judge(some, runs)
    assert row["published"] == "+0.0 (outside)" and row["theirs"] == "81.4 / 81.4"
    assert row["predicted"] == list(
        prediction(*([each.final_accuracy for each in runs[arm]] for arm in runs))
    )
    (row,) = judge(some, runs | {"fixed": runs["triangular2"][::-1]})
    assert row["published"] == "+0.0 (inside)"
    assert list(verdicts.table(some, runs)["published"]) == ["+0.0 (outside)"]
    middle = claim("triangular2 better than fixed", "CLR abstract", other_at=10)
    (row,) = judge(experiment(claims=[middle]), runs)
    assert row["published"] == row["theirs"] == "–"
    assert "published" not in verdicts.table(experiment(claims=[middle]), runs)


def test_the_prediction_interval_is_wider_than_the_interval():
    """A published number of one run is no contradiction because it differs from a mean."""
    runs = TABLE1.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    row = judge(TABLE1, runs)[0]  # triangular2 is not worse than fixed
    assert [round(100 * each, 2) for each in row["predicted"]] == [-2.0, -0.03]
    assert row["predicted"][0] < row["low"] and row["high"] < row["predicted"][1]


def test_as_many_verdicts_depend_on_the_device_as_the_page_says():
    """One arm on CPUs alone, the other on the GPU alone, and half a point changes the word."""
    found = []
    for each in EXPERIMENTS.values():
        runs = each.most_recorded(Store.committed())
        for asked, row in zip(each.claims, judge(each, runs), strict=True):
            if row["low"] is None or each.measure != "accuracy" or asked.minus:
                continue
            arms = [(asked.arm, asked.at), (asked.other, asked.other_at)]
            on_gpu = [
                {"NVIDIA" in r.provenance["device"] for r in runs.get(a, ())} for a, _ in arms
            ]
            if sorted(map(len, on_gpu)) != [1, 1] or on_gpu[0] == on_gpu[1]:
                continue
            ours, others = (Summary.of(runs[arm], at).accuracies for arm, at in arms)
            words = {
                verdict(asked.relation, np.add(ours, shift), others, row["margin"])[0]
                for shift in (-0.005, 0, 0.005)
            }
            if len(words) > 1:
                found.append(each.name)
    assert found == ["table1"] * 6
    page = (ROOT / "docs" / "verdicts.md").read_text()
    assert "There are six such verdicts, all on Table 1" in " ".join(page.split())
