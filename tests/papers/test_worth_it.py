"""What README and the notebooks say about the experiments of `worth_it` is in the records."""

import pytest

from clr.papers import verdicts, worth_it
from clr.papers.verdicts import Summary
from clr.papers.worth_it import AT_CHOSEN_RATES, MATCHED_ENDS, RATES, SENSITIVITY
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
