"""`again`: its arms are what their names say, and the choices follow from the records."""

import nbformat
import numpy as np
import pytest
from made import validated

from clr.papers.again import (
    AGAIN,
    FURTHER,
    LONG,
    RATES,
    RATES_OF_AGAIN,
    SCHEDULES,
    SHORT,
    WARMED,
    T,
    again,
    at_rate,
    choices,
    tuned,
)
from clr.papers.verdicts import Summary
from clr.paths import ROOT
from clr.runs import Store
from clr.training import VALIDATION_LOSS

LENGTHS = T // 4, T // 2, 3 * T // 4, 2 * T
PEAKS = {name: 0.001 * (2 + i) for i, name in enumerate(SCHEDULES)} | {
    tuned(n): n / 1e5 for n in LENGTHS
}


@pytest.fixture(params=[SHORT, LONG])
def made(request):
    return again(PEAKS, dict.fromkeys(WARMED, request.param)), request.param


def rates(experiment, arm):
    """The rates of an arm at all of its iterations, and after the last one."""
    each = experiment.arms[arm]
    return each.policy(range(each.iterations + 1))


def test_an_arm_has_the_length_the_peak_and_the_end_of_its_name(made):
    experiment, warm_up = made
    for name in WARMED:
        peak = PEAKS[f"{name}, {warm_up:.0%} warm-up"]
        found = rates(experiment, name)
        assert len(found) == T + 1 and found.max() == peak
        assert found.argmax() == round(warm_up * T) and found[0] == 0
        assert found[-1] == pytest.approx(peak if name == "constant" else 0)
    for name in ("linear", "one cycle", "two cycles to 0"):
        twice = rates(experiment, f"{name}, twice its rate")
        assert twice == pytest.approx(2 * rates(experiment, name))
    for n in LENGTHS:
        found = rates(experiment, tuned(n))
        assert len(found) == n + 1 and found.argmax() == n // 4
        assert found.max() == PEAKS[tuned(n)]


@pytest.mark.parametrize(
    ("arm", "ends"), [("SGDR", (114, 343, 800)), ("SGDR, 1 : 1 : 2", (200, 400, 800))]
)
def test_a_cosine_ends_where_the_next_one_begins(made, arm, ends):
    experiment, _ = made
    found = rates(experiment, arm)
    up = round(SHORT * T)
    starts = np.flatnonzero(np.diff(found[up:]) > PEAKS["SGDR"] / 2) + up + 1
    assert tuple(starts) == ends[:-1] and found[-1] == pytest.approx(0)
    assert np.abs(found[starts - 1]).max() < 0.001 * PEAKS["SGDR"]


def test_the_branches_have_spent_as_much_as_sgdr(made):
    experiment, _ = made
    whole = {at: experiment.arms[f"branch, {at}"].iterations for at in ("T/4", "T/2", "T")}
    falls = 0
    for at, spent in zip(whole, (T // 4, T // 2, T), strict=True):
        found = rates(experiment, f"branch, {at}")
        assert whole[at] + falls == spent
        falls += whole[at] // 5
        trunk = found[: whole[at] - whole[at] // 5]  # is the same for all branches
        assert trunk == pytest.approx(rates(experiment, "branch, T")[: len(trunk)])


def test_a_run_that_is_continued_begins_as_the_run_of_t_iterations(made):
    experiment, _ = made
    same = {"re-warmed": ("linear", T), "constant at a tenth": ("linear", T)}
    for arm, (begun, n) in (same | {"resumed trunk": ("hold and fall", 640)}).items():
        found = rates(experiment, arm)
        assert found[:n] == pytest.approx(rates(experiment, begun)[:n])
        assert len(found) - 1 == (1440 if arm == "resumed trunk" else 2 * T)
    assert rates(experiment, "re-warmed")[T:] == pytest.approx(rates(experiment, "linear"))
    assert rates(experiment, "constant at a tenth")[T:] == pytest.approx(
        np.full(T + 1, rates(experiment, "linear").max() / 10)
    )


def test_seven_claims_are_primary(made):
    experiment, _ = made
    primary = [experiment.text(each) for each in experiment.claims if experiment.primary(each)]
    assert len(primary) == 7 < len(experiment.claims)
    assert "SGDR, 1 : 1 : 2 (400) is not worse than branch, T/2 (360)" in primary


def test_the_seeds_that_judge_did_not_choose():
    judging = again(PEAKS, dict.fromkeys(WARMED, SHORT)).configs()
    choosing = RATES_OF_AGAIN.configs()
    seeds = [
        {config.seed for each in configs.values() for config in each}
        for configs in (judging, choosing)
    ]
    assert seeds == [{2, 3, 4, 5, 6}, {0, 1}]


def test_the_better_warm_up_is_chosen_at_the_best_rate():
    def loss(schedule, rate):
        longer = schedule in ("linear, 25% warm-up", "constant, 5% warm-up")
        return abs(np.log2(rate / 0.004)) + (1.5 if longer else 2.0)

    found, warm_ups = choices(validated(RATES_OF_AGAIN, VALIDATION_LOSS, loss))
    assert set(found.values()) == {0.004} and found.keys() == PEAKS.keys()
    assert warm_ups["linear"] == LONG and warm_ups["constant"] == SHORT


def test_the_rates_and_warm_ups_are_those_that_the_records_choose():
    assert again(*choices(RATES_OF_AGAIN.recorded(Store.committed()))) == AGAIN


@pytest.mark.parametrize("name", FURTHER)
def test_a_grid_got_a_rate_only_where_its_highest_was_the_best(name):
    runs = RATES_OF_AGAIN.recorded(Store.committed())
    grid = [*RATES, *FURTHER[name]]
    for known in range(len(RATES), len(grid)):
        means = {
            rate: np.mean([each.value(VALIDATION_LOSS) for each in runs[at_rate(name, rate)]])
            for rate in grid[:known]
        }
        assert min(means, key=means.get) == grid[known - 1]
        assert grid[known] == 2 * grid[known - 1]


def test_what_notebook_6_says_of_warm_ups_is_in_the_records():
    cells = nbformat.read(ROOT / "notebooks" / "06_worth_it.ipynb", as_version=4).cells
    text = " ".join(" ".join(c.source for c in cells if c.cell_type == "markdown").split())
    runs = RATES_OF_AGAIN.most_recorded(Store.committed())
    rates, _ = choices(runs)

    def loss(name, warm_up, rate):
        arm = at_rate(f"{name}, {warm_up:.0%} warm-up", rate)
        return Summary.of(runs[arm], column="test_loss").mean

    falls = [name for name in WARMED if name != "constant"]
    each = [[rates[f"{name}, {w:.0%} warm-up"] for w in (SHORT, LONG)] for name in falls]
    assert {long / short for short, long in each} == {4, 8}
    assert "lets falls have four to eight times the rate" in text
    gains = [
        loss(name, SHORT, short) - loss(name, LONG, long)
        for name, (short, long) in zip(falls, each, strict=True)
    ]
    assert f"and gains {min(gains):.2f} to {max(gains):.2f} nats" in text
    costs = {
        rate: [loss(name, SHORT, rate) - loss(name, LONG, rate) for name in WARMED]
        for rate in RATES
    }
    assert "Up to a peak of 0.002, both warm-ups end within 0.05 nats of each other" in text
    assert max(abs(c) for rate, cost in costs.items() if rate <= 0.002 for c in cost) < 0.05
    least = min(c for rate, cost in costs.items() if rate >= 0.004 for c in cost)
    assert f"from 0.004 on, 5 % costs {least:.2f} nats and more" in text
