from dataclasses import replace
from math import log2

import numpy as np
import pytest
from made import run

from clr.papers import sensitivity, worth_it
from clr.papers.sensitivity import Curve, LiesIn, Wider, window
from clr.training import VALIDATION

RATES = [0.001, 0.002, 0.004, 0.008]


def test_a_window_is_interpolated_in_octaves():
    # one point is lost over half an octave below, and over a quarter of one above
    low, high = window(RATES, [0.10, 0.68, 0.70, 0.66])
    assert low == pytest.approx(0.004 / 2**0.5) and high == pytest.approx(0.004 * 2**0.25)
    # a rate that is within one point is passed, and the fall after it counts
    low, high = window(RATES, [0.40, 0.695, 0.70, 0.20])
    assert log2(0.002 / low) == pytest.approx(0.005 / 0.295)
    assert log2(high / 0.004) == pytest.approx(0.01 / 0.5)


def test_a_window_ends_with_the_grid_and_is_in_one_piece():
    assert window(RATES, [0.7, 0.7, 0.7, 0.7]) == pytest.approx((0.001, 0.008))
    assert window(RATES, [0.7, 0.1, 0.69, 0.1])[1] < 0.002


@pytest.mark.parametrize("rates", [[0.1], [0.2, 0.1], [0.1, 0.1], [0.1, 0.2, 0.3]])
def test_rates_that_cannot_be_a_grid_are_refused(rates):
    with pytest.raises(ValueError, match="rates must rise, be two or more"):
        window(rates, [0.5, 0.6])


def made(test, validation, ended="finished"):
    """A run with these final accuracies; its data has ten classes."""
    found = run([0.1, test], ended=ended)
    found.data.update(classes=10, test=10_000)
    found.columns[VALIDATION] = np.array([0.1, validation])
    return found


def curve(*columns):
    """A curve of runs whose test and validation accuracies are equal, one column per seed."""
    rows = zip(RATES, zip(*columns, strict=True), strict=True)
    return Curve.of({rate: [made(a, a) for a in each] for rate, each in rows})


def test_the_rate_is_chosen_by_validation_accuracy_and_windows_are_of_test_accuracy():
    found = Curve.of({0.002: [made(0.70, 0.60)], 0.001: [made(0.60, 0.70)]})
    assert (found.rates, found.chosen, found.at_edge) == ((0.001, 0.002), 0.001, True)
    assert found.windows[0] == pytest.approx((0.002 / 2**0.1, 0.002))
    assert found.widths == pytest.approx([0.1])


def test_a_diverged_run_counts_as_guessing_and_a_run_at_chance_has_failed_too():
    runs = {rate: [made(0.7, 0.7)] for rate in RATES[:3]}
    found = Curve.of(runs | {0.008: [made(0.9, 0.9, ended="diverged at iteration 3")]})
    assert found.failed == (0, 0, 0, 1)
    assert Curve.of(runs | {0.002: [made(0.1, 0.1)]}).failed == (0, 1, 0)
    assert found.test[:, 0].tolist() == [0.7, 0.7, 0.7, 0.1]
    assert found.validation[3, 0] == 0.1 and found.chosen == 0.001


def test_rates_with_other_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match=r"equally many runs; got \[1, 2\]"):
        Curve.of({0.1: [made(0.5, 0.5)], 0.2: [made(0.5, 0.5)] * 2})
    with pytest.raises(ValueError, match=r"equally many runs; got \[0\]"):
        Curve.of({0.1: [], 0.2: []})


def test_wider_is_judged_by_the_spread_over_seeds():
    wide = curve([0.69, 0.70, 0.70, 0.6], [0.695, 0.70, 0.70, 0.5], [0.69, 0.70, 0.69, 0.5])
    narrow = curve([0.5, 0.7, 0.5, 0.1], [0.55, 0.7, 0.5, 0.1], [0.5, 0.7, 0.52, 0.1])
    curves = {"wide": wide, "narrow": narrow}
    difference, low, high, word = Wider("wide", "narrow").verdict(curves)
    assert difference == pytest.approx(np.mean(wide.widths) - np.mean(narrow.widths))
    assert 0 < low < difference < high and word == "wider"
    assert Wider("narrow", "wide").verdict(curves)[3] == "narrower"
    # as wide as itself: an advantage of half an octave is excluded
    assert Wider("wide", "wide").verdict(curves)[3] == "gain below the margin"


def test_a_rate_lies_in_more_than_half_of_all_windows_or_in_fewer():
    seeds = [[0.5, 0.7, 0.5, 0.1]] * 5 + [[0.5, 0.7, 0.7, 0.1]]
    curves = {"a": curve(*seeds), "few": curve(*seeds[:5])}
    claim = LiesIn("a", "a rate")
    assert claim.verdict(curves, 0.002) == (6, 6, "inside")
    assert claim.verdict(curves, 0.004) == (1, 6, "undecided")
    assert claim.verdict(curves, 0.008) == (0, 6, "outside")
    # 5 of 5 could be chance: the 95 % interval of the share begins at 48 %
    assert LiesIn("few", "a rate").verdict(curves, 0.002) == (5, 5, "undecided")


def test_an_accuracy_between_two_rates_is_interpolated_in_octaves():
    found = curve([0.5, 0.7, 0.5, 0.1])
    assert found.at(0.002) == 0.7 and found.at(0.002 * 2**0.5) == pytest.approx(0.6)
    assert np.isnan(found.at(0.0009)) and np.isnan(found.at(0.0081))


def test_results_say_which_rate_is_chosen_and_how_wide_the_window_is():
    found = {"a": curve([0.5, 0.7, 0.5, 0.1], [0.5, 0.72, 0.5, 0.1]), "b": curve([0.1] * 4)}
    rows = sensitivity.results(found)
    assert list(rows.index) == ["a", "b"]
    row = rows.loc["a"]
    assert row["chosen rate"] == "0.002" and row["n"] == 2 and row["failed"] == 2
    assert row["test accuracy there, %"] == "71.0 ± 1.4"
    widths = found["a"].widths
    assert row["width, octaves"] == f"{np.mean(widths):.1f} ± {np.std(widths, ddof=1):.1f}"
    assert (row["at half of it"], row["at twice of it"]) == ("-21.0", "-21.0")
    assert rows.loc["b", "at half of it"] == "–" and rows.loc["b", "at twice of it"] == "+0.0"
    assert rows.loc["b", "chosen rate"] == "0.001 (edge of the grid)"
    assert rows.loc["b", "window"] == "0.0010 to 0.0080"
    assert sensitivity.results({}).empty


def test_the_table_of_claims_says_what_is_not_run():
    claims = Wider("a", "b"), LiesIn("a", "this rate"), LiesIn("c", "this rate")
    found = {"a": curve([0.5, 0.7, 0.5, 0.1]), "b": curve([0.1, 0.7, 0.69, 0.1])}
    few = sensitivity.table(claims, found, 0.002, planned=2)
    assert list(few["verdict"]) == ["undecided", "undecided", "not run"]
    unread = sensitivity.table(claims, found, None, planned=1)  # no range test, or no max_lr
    assert list(unread["verdict"]) == ["undecided", "not run", "not run"]
    rows = sensitivity.table(claims, found, 0.002, planned=1)
    assert list(rows["verdict"]) == ["undecided", "undecided", "not run"]
    assert list(rows["ours"]) == [
        f"{found['a'].widths[0] - found['b'].widths[0]:+.1f} octaves (no interval)",
        "0.0020, in 1 of 1 windows",
        "–",
    ]


def test_a_curve_needs_runs_at_every_rate():
    rates = (0.001, 0.002)
    runs = {
        worth_it.at_rate("constant", 0.001): [made(0.5, 0.5)],
        worth_it.at_rate("constant", 0.002): [made(0.7, 0.7)],
        worth_it.at_rate("step", 0.001): [made(0.5, 0.5)],
    }
    found = worth_it.curves(runs, ["constant", "step"], rates)
    assert list(found) == ["constant"]
    assert found["constant"].test.tolist() == [[0.5], [0.7]]


def test_a_curve_has_the_same_seeds_at_every_rate():
    def of(seed, accuracy):
        each = made(accuracy, accuracy)
        return replace(each, config=replace(each.config, seed=seed))

    runs = {
        worth_it.at_rate("constant", 0.001): [of(0, 0.5), of(1, 0.6), of(2, 0.65)],
        worth_it.at_rate("constant", 0.002): [of(2, 0.75), of(1, 0.7)],
        worth_it.at_rate("step", 0.001): [of(0, 0.5)],
        worth_it.at_rate("step", 0.002): [of(1, 0.5)],
    }
    found = worth_it.curves(runs, ["constant", "step"], (0.001, 0.002))
    assert list(found) == ["constant"]
    assert found["constant"].test.tolist() == [[0.6, 0.65], [0.7, 0.75]]


def test_the_better_cycle_is_chosen_by_validation_accuracy():
    rates = (0.1, 0.2)

    def made_of(validation, test):
        both = np.array([test]).T, np.array([validation]).T
        return Curve(rates, *both, failed=(0, 0))

    curves = {
        "constant": made_of([0.9, 0.8], [0.1, 0.9]),
        "two cycles": made_of([0.5, 0.7], [0.9, 0.9]),
        "two cycles, to 0": made_of([0.75, 0.2], [0.1, 0.1]),
    }
    found = {"constant": 0.1, "two cycles": 0.2, "two cycles, to 0": 0.1}
    assert worth_it.chosen(curves) == (found, "two cycles, to 0")
