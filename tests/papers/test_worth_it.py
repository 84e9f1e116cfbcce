"""What README and the notebooks say about the experiments of `worth_it` is in the records."""

import numpy as np
import pytest

from clr.papers import sensitivity, verdicts, worth_it
from clr.papers.cyclical import RANGE_TEST
from clr.papers.sensitivity import LiesIn
from clr.papers.verdicts import Summary
from clr.papers.worth_it import AT_CHOSEN_RATES, MATCHED_ENDS, RATES, SENSITIVITY
from clr.paths import ROOT
from clr.range_test import RangeTest
from clr.runs import Store

SCHEDULES = list(worth_it.schedules(1))
CURVES = worth_it.curves(
    SENSITIVITY.recorded(Store.committed(), dataset="folder:cifar10-jpeg"), SCHEDULES, RATES
)
RUNS = MATCHED_ENDS.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
SHAPES = ("falls once", "one cycle", "two cycles", "four cycles")


def mean(arm):
    return 100 * Summary.of(RUNS[arm]).mean


def verdict(*words):
    table = verdicts.table(MATCHED_ENDS, RUNS)
    return table.loc[" ".join(words), "verdict"]


def test_all_planned_runs_are_recorded():
    assert {len(runs) for runs in RUNS.values()} == {5} and len(RUNS) == 10


@pytest.mark.parametrize("shape", SHAPES)
def test_an_end_at_0_is_worth_what_readme_and_notebook_6_say(shape):
    arms = f"{shape}, to 0", f"{shape}, to 0.001"
    assert verdict(arms[0], "is better than", arms[1]) == "yes"
    assert 2.75 < mean(arms[0]) - mean(arms[1]) < 4.25  # 2.8 to 4.2, rounded


def test_several_cycles():
    for end in ("to 0.001", "to 0"):
        words = f"four cycles, {end}", "is better than", f"one cycle, {end}"
        assert verdict(*words) == "no"
        assert mean(words[0]) < mean(words[2])
    for shape, end in (("two", "to 0"), ("four", "to 0"), ("two", "to 0, shuffled")):
        words = f"{shape} cycles, {end}", "is better than", f"falls once, {end}"
        assert verdict(*words) == "no"
    for shape in ("two", "four"):
        words = f"{shape} cycles, to 0.001", "is better than", "falls once, to 0.001"
        assert verdict(*words) == "undecided"


def test_one_cycle_against_one_fall_is_undecided():
    for end, low, high in (("to 0.001", 0.8, 1.5), ("to 0", 0.3, 0.8)):
        words = f"one cycle, {end}", "is better than", f"falls once, {end}"
        assert verdict(*words) == "undecided"
        assert low < mean(words[0]) - mean(words[2]) < high


def test_file_order_and_shuffled_batches_agree_within_half_a_point():
    for shape in ("falls once", "two cycles"):
        assert abs(mean(f"{shape}, to 0") - mean(f"{shape}, to 0, shuffled")) < 0.5


def test_the_rates_are_those_that_the_validation_images_choose():
    assert {len(curve.widths) for curve in CURVES.values()} == {3} and list(CURVES) == SCHEDULES
    rates, cycle = worth_it.chosen(CURVES)
    assert worth_it.at_chosen_rates(rates, cycle) == AT_CHOSEN_RATES
    assert not any(curve.at_edge for curve in CURVES.values())  # else another octave is due


FRESH = AT_CHOSEN_RATES.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
CYCLE = "two cycles, to 0"


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_readme_has_the_accuracies_at_the_chosen_rates(name):
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    for arm in ("constant", CYCLE, "linear to 0", "constant, then linear"):
        assert len(FRESH[arm]) == 5 and f"{Summary.of(FRESH[arm]).text()} %" in text


def test_a_cycle_is_better_than_a_constant_rate_and_the_rest_is_undecided():
    table = verdicts.table(AT_CHOSEN_RATES, FRESH)
    row = table.loc[f"{CYCLE} is better than constant"]
    assert (row["verdict"], row["Holm"]) == ("yes", "yes")
    assert row["difference"].startswith("+5.6")
    for other, gap in (("cosine to 0", "-0.0"), ("linear to 0", "-0.5")):
        row = table.loc[f"{CYCLE} is not worse than {other}"]
        assert row["verdict"] == "undecided" and row["difference"].startswith(gap)


def test_notebook_6_says_which_schedule_has_the_highest_mean():
    means = {arm: 100 * Summary.of(runs).mean for arm, runs in FRESH.items()}
    assert max(means, key=means.get) == "constant, then linear"
    assert means["constant, then linear"] - means[CYCLE] == pytest.approx(1.9, abs=0.05)


def test_windows():
    widths = {name: np.mean(curve.widths) for name, curve in CURVES.items()}
    said = {"two cycles": 1.3, "constant": 1.5, "cosine to 0": 0.8}
    assert {name: round(widths[name], 1) for name in said} == said
    ramp = RANGE_TEST.recorded(Store.committed(), dataset="folder:cifar10-jpeg")["range ramp"]
    max_lr = RangeTest.from_runs(ramp).bounds().max_lr
    assert round(max_lr, 4) == 0.0057
    table = sensitivity.table(worth_it.WINDOWS, CURVES, max_lr, SENSITIVITY.seeds)
    assert table["verdict"].tolist() == ["undecided", "undecided", "yes"]
    inside = {name: LiesIn(name, "").verdict(CURVES, max_lr)[0] for name in CURVES}
    assert inside.pop("two cycles") == inside.pop(CYCLE) == 3
    assert sum(inside.values()) <= 3  # of 15: "mostly too large"
    for name in inside:
        assert np.mean([high for _, high in CURVES[name].windows]) < 0.0066


def test_rates_that_are_too_large_cost_the_cycles_least():
    best = {name: 100 * curve.test.mean(1).max() for name, curve in CURVES.items()}
    at = {name: 100 * curve.test.mean(1)[-1] for name, curve in CURVES.items()}  # at 0.016
    lost = {name: best[name] - at[name] for name in CURVES}
    assert set(sorted(lost, key=lost.get)[:2]) == set(worth_it.CYCLES)
    said = {"two cycles": 7, "cosine to 0": 18, "linear to 0": 28}
    assert {name: round(lost[name]) for name in said} == said
    failed = [name for name, curve in CURVES.items() if curve.test[-1].min() < 0.11]
    assert failed == ["step", "linear to 0", "constant, then linear"]
    assert all((CURVES[name].test[-1] < 0.11).sum() == 1 for name in failed)


def test_half_of_the_chosen_rate_or_twice_of_it_costs_the_cycles_up_to_5_points():
    worst = 0
    for name in worth_it.CYCLES:
        curve = CURVES[name]
        mean, i = 100 * curve.test.mean(1), curve.rates.index(curve.chosen)
        worst = max(worst, *(mean[i] - mean[[i - 1, i + 1]]))
    assert worst == pytest.approx(5, abs=0.5)
