"""What README and the notebooks say about the experiments of `worth_it` is in the records."""

import re

import nbformat
import numpy as np
import pytest
import torch
from scipy import stats

from clr.papers import choose, sensitivity, verdicts, worth_it
from clr.papers.cyclical import RANGE_TEST
from clr.papers.sensitivity import LiesIn
from clr.papers.verdicts import Summary
from clr.papers.worth_it import AT_CHOSEN_RATES, MATCHED_ENDS, RATES, SENSITIVITY
from clr.paths import ROOT
from clr.range_test import RangeTest
from clr.runs import Store
from clr.training import VALIDATION

SCHEDULES = list(worth_it.schedules(1))
CURVES = worth_it.curves(
    SENSITIVITY.recorded(Store.committed(), dataset="folder:cifar10-jpeg"), SCHEDULES, RATES
)
WARM_UP_RUNS = worth_it.WARM_UP_RATES.most_recorded(Store.committed())
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
    assert verdict(arms[0], "is better than", arms[1]) == "better"
    assert 2.75 < mean(arms[0]) - mean(arms[1]) < 4.25  # 2.8 to 4.2, rounded


def test_several_cycles():
    for end in ("to 0.001", "to 0"):
        words = f"four cycles, {end}", "is better than", f"one cycle, {end}"
        assert verdict(*words) == "worse"
        assert mean(words[0]) < mean(words[2])
    below = "gain below the margin"
    for shape, end, word in (
        ("two", "to 0", below),
        ("four", "to 0", "worse"),
        ("two", "to 0, shuffled", below),
    ):
        words = f"{shape} cycles, {end}", "is better than", f"falls once, {end}"
        assert verdict(*words) == word
    for shape in ("two", "four"):
        words = f"{shape} cycles, to 0.001", "is better than", "falls once, to 0.001"
        assert verdict(*words) == "undecided"


def test_one_cycle_against_one_fall_is_undecided():
    for end, low, high in (("to 0.001", 0.8, 1.5), ("to 0", 0.3, 0.8)):
        words = f"one cycle, {end}", "is better than", f"falls once, {end}"
        assert verdict(*words) == "undecided"
        assert low < mean(words[0]) - mean(words[2]) < high


def test_with_ten_new_seeds_the_gain_of_one_cycle_is_small():
    experiment = worth_it.CYCLE_OR_FALL
    runs = experiment.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    (row,) = verdicts.judge(experiment, runs)
    assert row["n"] == [10, 10] and row["verdict"] == "undecided"
    assert row["points"] == "+0.1 [-0.4, +0.6]"


def test_file_order_and_shuffled_batches_agree_within_half_a_point():
    for shape in ("falls once", "two cycles"):
        assert abs(mean(f"{shape}, to 0") - mean(f"{shape}, to 0, shuffled")) < 0.5


def test_the_rates_are_those_that_the_validation_images_choose():
    assert {len(curve.widths) for curve in CURVES.values()} == {3} and list(CURVES) == SCHEDULES
    rates, cycle = worth_it.chosen(CURVES)
    assert worth_it.at_chosen_rates(rates, cycle) == AT_CHOSEN_RATES
    assert not any(curve.at_edge for curve in CURVES.values())  # else another octave is due


def test_how_low_the_rate_falls_matters_more_than_the_shape():
    for end in ("to 0.001", "to 0"):
        means = [mean(f"{shape}, {end}") for shape in SHAPES]
        assert max(means) - min(means) < 1.75


FRESH = AT_CHOSEN_RATES.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
AT_BEST = {arm: 100 * Summary.of(runs).mean for arm, runs in FRESH.items()}
CYCLE = "two cycles, to 0"
FALLS_ONCE = ("linear to 0", "cosine to 0", "constant, then linear")
RANGE = RangeTest.from_runs(
    RANGE_TEST.recorded(Store.committed(), dataset="folder:cifar10-jpeg")["range ramp"]
).bounds()


def test_every_schedule_is_better_than_the_constant_rate():
    table = verdicts.table(AT_CHOSEN_RATES, FRESH)
    row = table.loc[f"{CYCLE} is better than constant"]
    assert (row["verdict"], row["Holm"]) == ("better", "yes")
    assert row["difference"].startswith("+5.6")
    leads = [AT_BEST[arm] - AT_BEST["constant"] for arm in FRESH if arm != "constant"]
    assert (round(min(leads), 1), round(max(leads), 1)) == (4.0, 7.4)


def test_two_cycles_are_not_separated_from_one_fall():
    table = verdicts.table(AT_CHOSEN_RATES, FRESH)
    for other, gap in (("cosine to 0", "-0.0"), ("linear to 0", "-0.5")):
        row = table.loc[f"{CYCLE} is not worse than {other}"]
        assert row["verdict"] == "undecided" and row["difference"].startswith(gap)


def test_the_papers_form_and_the_schedule_with_the_highest_mean():
    assert max(AT_BEST, key=AT_BEST.get) == "constant, then linear"
    assert AT_BEST["constant, then linear"] - AT_BEST[CYCLE] == pytest.approx(1.9, abs=0.05)
    assert round(AT_BEST["two cycles"], 1) == 71.1
    assert AT_BEST["linear to 0"] - AT_BEST["two cycles"] == pytest.approx(2, abs=0.2)
    assert AT_BEST["two cycles"] < AT_BEST["step"]
    ends_at_0 = [AT_BEST[arm] for arm in (CYCLE, *FALLS_ONCE)]
    assert (round(min(ends_at_0), 1), round(max(ends_at_0), 1)) == (72.7, 74.6)


def test_windows():
    widths = {name: np.mean(curve.widths) for name, curve in CURVES.items()}
    said = {"two cycles": 1.3, "constant": 1.5, "cosine to 0": 0.8}
    assert {name: round(widths[name], 1) for name in said} == said
    table = sensitivity.table(worth_it.WINDOWS, CURVES, RANGE.max_lr, SENSITIVITY.seeds)
    assert table["verdict"].tolist() == ["undecided"] * 3
    share = stats.binomtest(3, 3).proportion_ci()  # 3 of 3 windows are too few
    assert (round(100 * share.low), share.high) == (29, 1)


def test_the_rate_of_the_range_test():
    assert round(RANGE.max_lr, 4) == 0.0057
    singly = [LiesIn("two cycles", "").verdict(CURVES, high)[0] for _, high in RANGE.seeds]
    assert sorted(singly) == [2, 2, 3, 3, 3]
    there = {name: 100 * curve.at(RANGE.max_lr) for name, curve in CURVES.items()}
    near = [there[name] for name in (CYCLE, *FALLS_ONCE)]
    assert max(near) - min(near) < 1.35 and there["two cycles"] < min(near)
    half = {name: curve.at(RANGE.max_lr / 2) for name, curve in CURVES.items()}
    assert max(half, key=half.get) == "constant, then linear"


def test_half_of_the_chosen_rate_and_twice_of_it():
    lost = {True: [], False: []}
    for name, curve in CURVES.items():
        at = 100 * curve.at(curve.chosen)
        both = [at - 100 * curve.at(curve.chosen * times) for times in (0.5, 2)]
        lost[name in worth_it.CYCLES] += both
    assert [round(f(lost[True]), 1) for f in (min, max)] == [0.2, 5.5]
    assert [round(f(lost[False]), 1) for f in (min, max)] == [1.3, 5.0]


def test_rates_that_are_much_too_large_cost_schedules_that_rise_first_least():
    best = {name: 100 * curve.test.mean(1).max() for name, curve in CURVES.items()}
    lost = {name: best[name] - 100 * curve.test.mean(1)[-1] for name, curve in CURVES.items()}
    assert [round(lost.pop(name)) for name in worth_it.CYCLES] == [7, 5]
    assert (round(min(lost.values())), round(max(lost.values()))) == (18, 33)
    rising = worth_it.rising_curves(WARM_UP_RUNS)
    risen = {
        name: round(100 * (curve.test.mean(1).max() - curve.test[-1].mean()))
        for name, curve in rising.items()
    }
    assert risen.pop("one cycle, to 0") == 4
    assert sorted(risen.values()) == [4, 9, 16]
    runs = SENSITIVITY.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    failed = [name for name, curve in CURVES.items() if curve.test[-1].min() < 0.11]
    assert failed == ["step", "linear to 0", "constant, then linear"]
    for name in failed:
        (run,) = [r for r in runs[worth_it.at_rate(name, RATES[-1])] if r.final_accuracy < 0.11]
        after_first_row = run.history["test_loss"][1:]
        assert after_first_row.between(2.302, 2.304).all()  # it is at chance from the start


def test_the_highest_rate_is_four_times_the_one_that_suits_most_schedules():
    chosen = [curve.chosen for curve in CURVES.values()]
    assert 4 * max(set(chosen), key=chosen.count) == RATES[-1] == 0.016


def test_what_the_details_of_notebook_6_say():
    means = 100 * CURVES[CYCLE].test.mean(1)
    at = [RATES.index(rate) for rate in (0.004, 0.008)]
    assert abs(means[at[1]] - means[at[0]]) < 0.3
    makers, t = worth_it.schedules(4000), np.arange(4001)
    rates = {name: makers[name](1.0)(t).mean() for name in (CYCLE, *FALLS_ONCE)}
    assert rates.pop("constant, then linear") == pytest.approx(0.9, abs=0.01)
    assert list(rates.values()) == pytest.approx([0.5] * 3, abs=0.01)


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        (
            "one cycle, twice its rate minus one cycle is better than "
            "linear, twice its rate minus linear",
            "Twice its rate costs one cycle less than linear",
        ),
        (
            "one cycle, to 0 is better than falls once, to 0",
            "One cycle to 0 is better than one fall to 0",
        ),
        (
            "four cycles, to 0.001 is better than one cycle, to 0.001",
            "Four cycles to 0.001 are better than one cycle to 0.001",
        ),
        (
            "two cycles, to 0 is not worse than cosine to 0",
            "Two cycles to 0 are not worse than cosine to 0",
        ),
    ],
)
def test_a_claim_as_a_sentence(claim, says):
    assert worth_it.sentence(claim).replace("\N{NO-BREAK SPACE}", " ") == says


def test_what_to_do_on_monday_can_be_done():
    """The three lines of notebook 6, with a small model."""
    cells = nbformat.read(ROOT / "notebooks" / "06_worth_it.ipynb", as_version=4).cells
    (lines,) = [c.source for c in cells if c.source.startswith("## What to do on Monday")]
    lines = re.search(r"```python\n(.*?)```", lines, re.DOTALL)[1]
    assert lines.count("\n") == 3
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    inputs = torch.randn(64, 16, 8)
    targets = (inputs @ torch.randn(8, 4)).argmax(-1)
    space = {
        "model": model,
        "optimizer": optimizer,
        "batches": list(zip(inputs, targets, strict=True)),
        "loss": torch.nn.CrossEntropyLoss(),
        "n": 100,
    }
    exec("from clr.range_test import lr_range_test", space)
    exec("from clr.policies import WarmupStableDecay", space)
    exec("from clr.scheduler import PolicyLR", space)
    exec(lines, space)
    policy, peak = space["policy"], space["found"].peak
    assert peak > 0 and policy(50) == peak and policy(100) == 0
    assert optimizer.param_groups[0]["lr"] == policy(0)


def test_warm_up_compares_each_schedule_with_and_without_one_on_seeds_that_chose_nothing():
    rates = dict.fromkeys(worth_it.warmed(1), 0.005)
    found = worth_it.warm_up(rates)
    for name in rates:
        arm = found.arms[name]
        along = arm.policy(range(arm.iterations + 1))
        assert along[0] == along[-1] == 0 and along.max() == pytest.approx(0.005)
        assert along.argmax() == arm.iterations // (2 if name == "one cycle, to 0" else 4)
    known = AT_CHOSEN_RATES
    others = [found.arms[name] for name in found.arms.keys() - rates.keys()]
    assert all(arm in known.arms.values() for arm in others)
    assert found.settings == known.settings and found.seeds == known.seeds == 5
    assert found.first_seed >= known.first_seed + known.seeds
    assert len(found.arms) == 8 and sum(claim.primary or False for claim in found.claims) == 4


@pytest.mark.parametrize("name", worth_it.FURTHER)
def test_a_grid_got_a_rate_only_where_its_lowest_was_the_best(name):
    grid, further = worth_it.GRID, worth_it.FURTHER[name]
    for lowest, added in zip((grid[0], *further), further, strict=False):
        known = {
            rate: np.mean(
                [run.value(VALIDATION) for run in WARM_UP_RUNS[worth_it.at_rate(name, rate)]]
            )
            for rate in (*grid, *further)
            if rate >= lowest
        }
        assert max(known, key=known.get) == lowest and added == lowest / 2


def test_the_rates_of_warm_up_are_those_that_the_records_choose():
    best = choose.chosen(worth_it.WARM_UP_RATES, WARM_UP_RUNS)
    rates = {name: rate for name, (rate, _) in best.items()}
    assert worth_it.warm_up(rates) == worth_it.WARM_UP


def test_what_monday_says_of_other_rates_is_in_the_records():
    cells = nbformat.read(ROOT / "notebooks" / "06_worth_it.ipynb", as_version=4).cells
    (monday,) = [cell.source for cell in cells if cell.id == "cell-06-monday"]
    text = " ".join(monday.split())
    hold = "constant, then linear"
    warmed_up = worth_it.rising_curves(WARM_UP_RUNS)[f"{hold}, warm-up"]
    half, twice, twice_after_a_rise = (
        100 * (curve.at(curve.chosen) - curve.at(times * curve.chosen))
        for curve, times in ((CURVES[hold], 0.5), (CURVES[hold], 2), (warmed_up, 2))
    )
    assert f"this schedule lost {half:.1f} points, and at twice the rate {twice:.1f}" in text
    assert f"it lost {twice_after_a_rise:.1f} at twice the rate (two runs)" in text


def test_what_is_said_of_warm_ups_is_in_the_records():
    experiment = worth_it.WARM_UP
    runs = experiment.most_recorded(Store.committed())
    assert {len(each) for each in runs.values()} == {5} and len(runs) == 8
    rows = {row["claim"]: row for row in verdicts.judge(experiment, runs)}

    def row(claim):
        return next(each for text, each in rows.items() if text.startswith(claim))

    hold = "constant, then linear"
    for other, points in (("linear to 0", 1.1), ("cosine to 0", 1.2)):
        found = row(f"{hold} is better than {other}")
        assert found["verdict"] == "better"
        assert round(100 * found["difference"], 1) == points
    for name, verdict, points in (
        ("linear to 0", "undecided", 0.4),
        ("cosine to 0", "undecided", 0.2),
        (hold, "gain below the margin", -0.2),
    ):
        found = row(f"{name}, warm-up is better than {name}")
        assert found["verdict"] == verdict
        assert round(100 * found["difference"], 1) == points
    one = row("one cycle, to 0 is better than linear to 0")
    assert one["verdict"] == "better" and one["points"] == "+0.7 [+0.0, +1.4]"
    means = {arm: 100 * Summary.of(each).mean for arm, each in runs.items()}
    ends = [means[arm] for arm in ("linear to 0", "cosine to 0", "one cycle, to 0", CYCLE)]
    assert (round(min(ends), 1), round(max(ends), 1)) == (72.4, 73.8)
