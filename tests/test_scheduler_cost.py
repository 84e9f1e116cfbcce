import pytest

from clr.bench import scheduler_report, scheduler_seconds


@pytest.mark.parametrize("groups", [1, 50])
def test_a_step_of_policy_lr_costs_no_more_than_one_of_cyclic_lr(groups):
    for _ in range(5):  # other processes disturb some of the rounds
        times = scheduler_seconds(groups, rounds=40, steps=2000 // (groups + 19))
        ratio = min(times["PolicyLR"]) / min(times["CyclicLR"])
        if ratio <= 1.0:
            break
    assert ratio <= 1.0


def test_the_report_compares_with_torchs():
    lines = list(scheduler_report(rounds=3))
    assert [line.startswith("a step of PolicyLR") for line in lines] == [1, 0, 0, 1, 0, 0]
    assert "times CyclicLR's" in lines[1] and "times OneCycleLR's" in lines[5]
