import matplotlib.pyplot as plt
import numpy as np
import pytest
from made import experiment, run

from clr.papers import Arm, colours, dots
from clr.papers.worth_it import AT_CHOSEN_RATES
from clr.policies import Decay, Fixed, Stages, Step, Triangular, WarmupStableDecay
from clr.runs import Store

ARMS = {
    "fixed": Arm(Fixed(0.1), 20),
    "falls": Arm(Decay(0.0, 0.1, 20), 20),
    "cycles": Arm(Triangular(0.0, 0.1, 10), 20),
}


def ends(*accuracies, policy=None, **values):
    return [run([0.1, 0.5, each], policy=policy, **values) for each in accuracies]


RUNS = {
    "fixed": ends(0.60, 0.62),
    "falls": ends(0.80, 0.82),
    "cycles": ends(0.70, 0.74),
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(figure):
    """All texts of the axes that hold the dots, without those that are empty."""
    return [each.get_text() for each in figure.axes[0].texts]


def test_the_best_mean_is_at_the_top_with_a_dot_per_run():
    figure = dots.compare(experiment(ARMS), RUNS)
    names = [each for each in texts(figure) if each in ARMS]
    assert names == ["falls", "cycles", "fixed"]
    means = [each for each in texts(figure) if each.endswith(" %")]
    assert means == ["81.0 %", "72.0 %", "61.0 %"]
    first = figure.axes[0].collections[0]
    assert first.get_offsets().tolist() == pytest.approx(np.array([[80, 0], [82, 0]]))
    assert len(figure.axes) == 1 + len(ARMS)  # an icon per row


def test_a_line_parts_the_schedules_that_end_at_0_only_if_they_are_together():
    assert "↑ the rate ends at 0" in texts(dots.compare(experiment(ARMS), RUNS))
    best = RUNS | {"fixed": ends(0.9, 0.9)}
    assert "↑ the rate ends at 0" not in texts(dots.compare(experiment(ARMS), best))


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        (Fixed(0.1), False),
        (Step(0.1, (10, 15)), False),
        (Triangular(0.01, 0.1, 10), False),
        (Triangular(0.0, 0.1, 10), True),
        (Triangular(0.0, 0.1, 15), False),  # it stops in the middle of a cycle
        (WarmupStableDecay(max_lr=0.1, iterations=20, warmup=2, decay=5), True),
        (Stages(((Fixed(0.1), 15), (Decay(0.0, 0.1, 5), 5))), True),
    ],
)
def test_where_a_rate_ends(policy, ends):
    assert dots.ends_at_0(policy, 20) == ends


def test_diverged_runs_are_counted_and_arms_without_runs_are_left_out():
    gone = ends(0.0, ended="diverged at iteration 15")
    runs = {"fixed": RUNS["fixed"] + gone, "falls": gone}
    figure = dots.compare(experiment(ARMS), runs)
    assert texts(figure) == ["61.0 % (1 of 3 diverged)", "fixed"]
    with pytest.raises(ValueError, match="a run of an arm of table1; it has none"):
        dots.compare(experiment(ARMS), {"falls": gone})


def test_of_losses_the_lowest_mean_is_at_the_top():
    runs = {
        arm: [run([0.1] * 3, losses=[2.0, 2.0, loss])]
        for arm, loss in (("fixed", 1.9), ("falls", 1.2345))
    }
    figure = dots.compare(experiment(ARMS, measure="loss"), runs)
    assert texts(figure)[:2] == ["1.234 (1 of 2 runs)", "falls"]
    assert figure.axes[0].get_xlabel().startswith("test loss, nats per byte (less is better)")


@pytest.mark.parametrize("dark", [False, True])
def test_the_colours_are_those_of_the_schedules_on_this_ground(dark):
    figure = dots.compare(experiment(ARMS), {"cycles": RUNS["cycles"]}, dark=dark)
    icon = figure.axes[1].lines[0]
    assert icon.get_color() == colours.colour("triangular", dark=dark)
    assert plt.matplotlib.colors.to_hex(figure.get_facecolor()) == colours.GROUND[dark]


def test_each_workload_with_records_has_a_panel(tmp_path):
    found = dots.workloads(Store.committed())
    (title, (compared, runs)), *_ = found.items()
    assert "cifar10_full" in title and set(AT_CHOSEN_RATES.arms) <= set(runs)
    assert set(runs) <= set(compared.arms)
    figure = dots.panels(found)
    assert len(figure.subfigs) == len(found)
    assert figure.subfigs[0].texts[0].get_text() == title
    with pytest.raises(ValueError, match="at least one workload"):
        dots.panels(dots.workloads(Store(tmp_path)))


@pytest.mark.parametrize(("of_the_later", "seeds"), [(1, {0, 1}), (2, {2, 3})])
def test_an_arm_of_two_experiments_is_shown_with_the_later_runs_once_all_are_there(
    monkeypatch, of_the_later, seeds
):
    both = {
        "at_chosen_rates": experiment(ARMS),
        "warm_up": experiment({"falls": ARMS["falls"]}, first_seed=2),
    }
    monkeypatch.setattr(dots, "EXPERIMENTS", both)

    class Recorded:
        def by_data(self, config):
            if config.seed >= 2 + of_the_later:
                return {}
            return {"digits": run([0.1, 0.5, 0.7], policy=config.policy, seed=config.seed)}

    ((compared, runs),) = dots.workloads(Recorded()).values()
    assert {each.config.seed for each in runs["falls"]} == seeds
    assert {each.config.seed for each in runs["cycles"]} == {0, 1}
    assert set(runs) == set(compared.arms) == set(ARMS)
