"""Table 3 and Fig. 6 of CLR: the experiments against the paper's numbers and Caffe's rules."""

from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from clr.papers import EXPERIMENTS, published, solvers, verdicts
from clr.papers import statements as says
from clr.papers.cyclical import LAPTOP
from clr.papers.experiment import OURS
from clr.papers.solvers import (
    FIGURE6,
    FIGURE6_BOUNDS,
    FIGURE6_FULL,
    SOLVERS,
)
from clr.paths import ROOT
from clr.policies import Fixed
from clr.range_test import RangeTest
from clr.runs import Store
from clr.training import RunConfig, Training, load
from clr.training.data import Dataset

one = {name: each.configs(seeds=1) for name, each in EXPERIMENTS.items()}


def test_the_twelve_rows_of_table3_have_the_papers_bounds_and_lengths():
    rows = published.of(solvers.TABLE3)
    assert set(rows.index) == set(solvers.TABLE3.arms) and len(rows) == 12
    for arm, (config,) in one["table3"].items():
        row, name = rows.loc[arm], arm.split(", ")[0]
        assert config.iterations == row["iterations"]
        assert (row["setting"], row["base_lr"]) == (name, SOLVERS[name].base_lr)
        rates = config.policy(np.arange(60_000))
        if row["policy"] == "fixed":
            assert set(rates) == {SOLVERS[name].base_lr} and pd.isna(row["max_lr"])
        else:
            assert row["max_lr"] == SOLVERS[name].max_lr == rates.max()
            assert config.iterations % config.policy.period == 0  # whole cycles
            assert config.policy.stepsize in range(2 * 500, 10 * 500 + 1)  # 2 to 10 epochs


def test_the_short_runs_have_the_same_solvers_bounds_and_network():
    for name, solver in SOLVERS.items():
        short = {arm: one["solvers"][f"{name}, {arm}"][0] for arm in ("fixed", "triangular")}
        (mean,), (ramp,) = (
            one["solvers"][f"{name}, fixed at the mean"],
            one["solver_ranges"][name],
        )
        (full,) = one["table3"][f"{name}, triangular"]
        assert short["fixed"].policy == Fixed(solver.base_lr)
        assert (short["fixed"].iterations, mean.iterations) == (12_000, 4000)
        rates = short["triangular"].policy([0, 1000, 2000, 4000])
        assert rates.tolist() == [solver.base_lr, solver.max_lr, solver.base_lr, solver.base_lr]
        over = short["triangular"].policy(np.arange(4000))
        assert mean.policy(0) == pytest.approx(over.mean())
        assert ramp.policy([0, 4000]).tolist() == pytest.approx([0, 4 * solver.max_lr])
        for config in (*short.values(), mean, ramp, full):
            assert (config.optimizer, config.momentum) == (solver.optimizer, solver.momentum)
            assert (config.model, config.batch_size) == ("cifar10_full", 100)
            assert (config.weight_decay, config.shuffle) == (0.004, False)


def test_caffe_refuses_momentum_for_adagrad_and_rmsprop():
    momenta = {name: solver.momentum for name, solver in SOLVERS.items()}
    none = dict.fromkeys(["RMSprop", "AdaGrad"], 0.0)
    assert momenta == dict.fromkeys(SOLVERS, 0.9) | none


def test_each_solver_has_its_claims_and_they_are_the_papers_numbers():
    numbers = published.of(solvers.TABLE3)["accuracy"]
    assert {*solvers.IN_A_THIRD, *solvers.NOT_IN_A_THIRD} == set(SOLVERS)
    for experiment in (solvers.TABLE3, solvers.SOLVERS_SHORT):
        pairs = {(c.arm, c.relation, c.other, c.other_at): c.source for c in experiment.claims}
        assert len(pairs) == len(experiment.claims)
        cycle_end = experiment.arms["Adam, triangular"].iterations
        for name in SOLVERS:
            cycle, fixed = f"{name}, triangular", f"{name}, fixed"
            assert pairs[cycle, "better than", fixed, cycle_end] == "CLR abstract"
            source = solvers.IN_A_THIRD.get(name, OURS)
            assert pairs[cycle, "not worse than", fixed, None] == source
    for claim in solvers.TABLE3.claims:  # at the end of both arms: the paper's own order
        difference = numbers[claim.arm] - numbers[claim.other]
        if claim.source == "CLR Table 3":
            least = {"better than": 0.0, "not worse than": -claim.margin}[claim.relation]
            assert difference > least
        if claim.source == "CLR section 4.1.1":  # as the experiment's text says
            assert difference == pytest.approx(-0.008)


@pytest.fixture(scope="module")
def pictures():
    """Random images of CIFAR-10's size."""
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8))
    labels = torch.from_numpy(random.integers(0, 10, 200))
    classes = tuple("abcdefghij")
    return Dataset("random", classes, images, labels, images[:100], labels[:100])


@pytest.mark.parametrize("name", list(SOLVERS))
def test_each_solver_trains_at_the_papers_rates(name, pictures):
    for arm in ("fixed", "triangular"):
        training = Training(one["solvers"][f"{name}, {arm}"][0], pictures)
        before = [p.detach().clone() for p in training.model.parameters()]
        for _ in range(3):
            training.step()
        assert training.losses.isfinite().all()
        for old, new in zip(before, training.model.parameters(), strict=True):
            assert new.isfinite().all() and not new.equal(old)


def test_figure6_is_caffes_example():
    (fixed,) = one["figure6_full"]["fixed"]
    for config in (fixed, one["figure6"]["fixed"][0], one["figure6"]["range ramp"][0]):
        assert (config.model, config.weight_decay) == ("cifar10_full_sigmoid_bn", 0.0)
        assert (config.optimizer, config.momentum, config.bn_fraction) == ("sgd", 0.9, 0.999)
        assert (config.batch_size, config.shuffle) == (100, False)
    assert (fixed.iterations, fixed.policy) == (60_000, Fixed(0.001))
    assert one["figure6"]["fixed"][0].iterations == 12_000
    plans = [EXPERIMENTS["figure6"].plan(arm) for arm in ("range ramp", "fixed")]
    assert (plans, EXPERIMENTS["figure6_full"].seeds) == ([5, 3], 1)


def test_figure6_has_the_cycle_of_its_range_test():
    cycle, mean = FIGURE6.config("triangular"), FIGURE6.config("fixed at the mean")
    low, high = FIGURE6_BOUNDS
    assert cycle.policy([0, 1000, 4000]).tolist() == [low, high, low]
    assert (cycle.iterations, mean.iterations) == (4000, 4000)
    assert mean.policy(0) == pytest.approx(cycle.policy(range(4000)).mean())
    for arm in ("fixed", "triangular", "fixed at the mean"):
        config, twin = FIGURE6.config(arm), FIGURE6.config(f"{arm}, bn_fraction 0.9")
        assert twin == replace(config, bn_fraction=0.9) and config.bn_fraction == 0.999
    for suffix in ("", ", bn_fraction 0.9"):
        claims = [c for c in FIGURE6.claims if c.arm == f"triangular{suffix}"]
        assert [(c.relation, c.other, c.other_at) for c in claims] == [
            ("better than", f"fixed{suffix}", 4000),
            ("not worse than", f"fixed{suffix}", None),
            ("better than", f"fixed at the mean{suffix}", None),
        ]
    whole = FIGURE6_FULL.config("triangular")
    assert whole.iterations == 20_000 == 5 * whole.policy.period


@pytest.fixture(scope="module")
def update_sizes():
    """The function that notebook 5 writes out."""
    notebook = nbformat.read(ROOT / "notebooks" / "05_other_solvers.ipynb", as_version=4)
    (source,) = [c.source for c in notebook.cells if "def update_sizes" in c.source]
    space = {"load": load, "RunConfig": RunConfig, "Fixed": Fixed, "Training": Training}
    space["torch"] = torch
    exec(source, space)
    return space["update_sizes"]


def test_notebook_5_says_how_large_the_updates_are(update_sizes):
    sizes = pd.DataFrame(
        {name: update_sizes(solver, solver.base_lr, 40)[1] for name, solver in SOLVERS.items()}
    )
    first, last = sizes.iloc[0], sizes.tail(20).median()
    assert 0.8 < first["Adam"] < 1.01 and 8 < first["RMSprop"] < 10.01
    assert 0.9 < first["AdaGrad"] < 1.01 and last["AdaGrad"] < 0.3
    assert last["RMSprop"] / last["AdaDelta"] > 10_000  # four orders of magnitude
    whole = last * pd.Series({name: solver.base_lr for name, solver in SOLVERS.items()})
    alike = whole[["Adam", "RMSprop", "AdaGrad"]]
    assert alike.max() < 10 * alike.min() and whole.idxmin() == "AdaDelta"
    assert whole.idxmax() == "AdaGrad" and whole["AdaGrad"] > 100 * whole["AdaDelta"]


def test_notebook_5_says_what_adadelta_does_with_a_rate(update_sizes):
    solver = SOLVERS["AdaDelta"]
    runs = {rate: update_sizes(solver, rate, 200) for rate in (0.01, 1.0)}
    grown = {rate: np.divide(sizes, sizes[0]) for rate, (_, sizes) in runs.items()}
    assert grown[1.0][:50].max() > 10 and grown[0.01].max() < 2
    losses = {r: run.losses[-20:].mean().item() for r, (run, _) in runs.items()}
    assert losses[1.0] < 1 and losses[0.01] == pytest.approx(np.log(10), abs=0.02)


def recorded(experiment):
    return experiment.recorded(Store.committed(), dataset="folder:cifar10-jpeg")


SHORT, RANGES = recorded(solvers.SOLVERS_SHORT), recorded(solvers.SOLVER_RANGES)
LONG, SIX, WHOLE = recorded(solvers.TABLE3), recorded(FIGURE6), recorded(FIGURE6_FULL)


def at(run, iteration=None):
    return 100 * (run.accuracy_at(iteration) if iteration else run.final_accuracy)


def mean(runs, iteration=None):
    return np.mean([at(run, iteration) for run in runs])


def words(experiment, runs):
    """The verdict, the difference and its lower end in points, by the claim.

    A claim is (arm, relation, other, its iteration). A verdict that does not hold after Holm's
    correction has a question mark.
    """
    said = {}
    for claim, row in zip(experiment.claims, verdicts.judge(experiment, runs), strict=True):
        word = row["verdict"] + ("?" if row["holm"] == "no" else "")
        points = (100 * (row[key] or 0) for key in ("difference", "low"))
        said[claim.arm, claim.relation, claim.other, claim.other_at] = word, *points
    assert len(said) == len(experiment.claims)
    return said


def test_notebook_5_says_which_solver_gains_what():
    said = words(solvers.SOLVERS_SHORT, SHORT)
    third, long, mean_rate = {}, {}, {}
    for name in SOLVERS:
        cycle, fixed = f"{name}, triangular", f"{name}, fixed"
        third[name] = said[cycle, "not worse than", fixed, None]
        long[name] = said[cycle, "better than", fixed, 4000]
        mean_rate[name] = said[cycle, "better than", f"{name}, fixed at the mean", None]
    assert third["Nesterov"][0] == "not worse?" and 0.8 < third["Nesterov"][1] < 1.4
    assert mean_rate["Nesterov"][0] == "better" and 3.5 < mean_rate["Nesterov"][1] < 4
    assert long["Adam"][0] == "better?" and 0 < long["Adam"][2] < 0.05
    assert third["Adam"][0] == "worse" and -2.5 < third["Adam"][1] < -1.5
    assert said["Adam, fixed", "better than", "Adam, triangular", None][0] == "better?"
    assert long["RMSprop"][0] == "better" and 5.5 < long["RMSprop"][1] < 6.5
    assert third["RMSprop"][0] == mean_rate["RMSprop"][0] == "undecided"
    assert {third["AdaGrad"][0], long["AdaGrad"][0], mean_rate["AdaGrad"][0]} == {"undecided"}
    assert said["AdaGrad, triangular", "better than", "AdaGrad, fixed", None][0] == "undecided"
    ends = [at(run) for run in SHORT["AdaGrad, triangular"]]
    assert 4.5 < max(ends) - min(ends) < 5.5 and -6.5 < third["AdaGrad"][1] < -5.5
    assert (
        mean(SHORT["AdaGrad, triangular"], 1000) < mean(SHORT["AdaGrad, triangular"], 500) - 5
    )
    assert (third["AdaDelta"][0], long["AdaDelta"][0]) == ("not worse", "better")
    assert mean_rate["AdaDelta"][0] == "undecided" and abs(mean_rate["AdaDelta"][1]) < 1
    others = min(mean(SHORT[f"{name}, fixed"]) for name in SOLVERS if name != "AdaDelta")
    assert mean(SHORT["AdaDelta, fixed"]) < others - 20
    assert [word for word, *_ in long.values()].count("better") == 3


def test_notebook_5_says_what_the_mean_rate_alone_gains():
    gains = {
        name: mean(SHORT[f"{name}, fixed at the mean"]) - mean(SHORT[f"{name}, fixed"], 4000)
        for name in SOLVERS
    }
    said = {"Nesterov": 3, "Adam": -5, "RMSprop": 4, "AdaDelta": 11}
    for name, points in said.items():
        assert round(gains[name]) == points
        arms = [SHORT[f"{name}, {kind}"] for kind in ("fixed at the mean", "fixed")]
        low, high = verdicts.interval(*([run.accuracy_at(4000) for run in arm] for arm in arms))
        assert low > 0 or high < 0
    times = {name: each.mean_lr / each.base_lr for name, each in SOLVERS.items()}
    assert min(times.values()) == times["RMSprop"] == pytest.approx(2)
    assert max(times.values()) == times["AdaGrad"] == pytest.approx(6.3, abs=0.05)


def test_with_plain_sgd_the_short_cycle_is_below_the_fixed_rate():
    runs = recorded(LAPTOP)
    assert -1.5 < mean(runs["triangular"]) - mean(runs["fixed"]) < -0.5
    for kind in ("fixed", "triangular"):
        ours, theirs = LAPTOP.arms[kind], solvers.SOLVERS_SHORT.arms[f"Nesterov, {kind}"]
        assert (ours.policy, ours.iterations) == (theirs.policy, theirs.iterations)


def test_notebook_5_says_what_nesterov_does_at_the_papers_lengths():
    fixed, cycle = LONG["Nesterov, fixed"], LONG["Nesterov, triangular"]
    said = words(solvers.TABLE3, LONG)
    arm, other = "Nesterov, triangular", "Nesterov, fixed"
    third = said[arm, "not worse than", other, None]
    assert third[0] == "worse" and f"{third[1]:.1f}" == "-3.5"
    as_long = said[arm, "better than", other, 25_000]
    assert as_long[0] == "better" and as_long[1] > 2
    before, after = (f"{mean(fixed, t):.1f}" for t in (60_000, 60_500))
    assert (before, after) == ("75.3", "79.2")
    assert 0.75 < mean(cycle) - mean(fixed, 60_000) < 1.25
    pair = [run.final_accuracy for run in cycle], [run.accuracy_at(60_000) for run in fixed]
    low, high = verdicts.interval(*pair)
    assert low < 0 < high


def test_notebook_5_says_how_far_our_bounds_are_from_the_papers():
    low, high = {}, {}
    for name, each in RANGES.items():
        assert len(each) == 5
        found, theirs = RangeTest.from_runs(each).bounds(), SOLVERS[name]
        low[name] = found.base_lr / theirs.base_lr
        high[name] = found.max_lr / theirs.max_lr
    assert high.pop("AdaDelta") == pytest.approx(3, abs=0.2)
    assert high.pop("RMSprop") == pytest.approx(2, abs=0.25)
    assert min(high.values()) > 0.8 and max(high.values()) < 1.2
    assert max(low.values()) == low["AdaDelta"] == pytest.approx(2.8, abs=0.15)
    assert sorted(low.values())[:2] == sorted([low["Adam"], low["RMSprop"]])
    assert [low["Adam"], low["RMSprop"]] == pytest.approx([0.2, 0.2], abs=0.05)
    seeds = sorted(base for base, _ in RangeTest.from_runs(RANGES["AdaGrad"]).bounds().seeds)
    assert seeds[-1] / seeds[-2] == pytest.approx(30, abs=2)
    for name in SOLVERS:  # which curves do not fall up to the right end
        curve = RangeTest.from_runs(RANGES[name]).column("test_accuracy").median(axis=1)
        falls = curve.tail(10).mean() < curve.iloc[-30:-20].mean()
        assert falls == (name not in ("RMSprop", "AdaDelta"))
    for name in ("Nesterov", "Adam", "AdaGrad"):
        tops = [top for _, top in RangeTest.from_runs(RANGES[name]).bounds().seeds]
        assert max(max(tops) / SOLVERS[name].max_lr, SOLVERS[name].max_lr / min(tops)) < 2.2


def test_notebook_5_says_that_a_short_cycle_is_far_ahead_in_figure6():
    row = verdicts.judge(*solvers.figure6(Store.committed()))[0]
    assert row["statement"] == says.SIGMOIDS and row["verdict"] == "better"
    assert row["difference"] > 0.05


def test_notebook_5_says_how_near_the_network_with_scale_is_to_figure6():
    scaled = solvers.FIGURE6_SCALED
    runs, paper = recorded(scaled), published.of(scaled)["accuracy"]
    cycle, fixed = (mean(runs[arm]) for arm in ("triangular", "fixed"))
    theirs = [100 * paper[arm] for arm in ("triangular", "fixed")]
    assert round(cycle - fixed) == 13 and round(theirs[0] - theirs[1]) == 11
    assert (round(cycle - theirs[0], 1), round(fixed - theirs[1], 1)) == (-0.6, -2.3)
    found = {row["claim"]: row["verdict"] for row in verdicts.judge(scaled, runs)}
    assert found["triangular is better than fixed"] == "better"
    assert {found[f"{arm} (8,000) is as published"] for arm in runs} == {"undecided"}


def test_what_figure6_gains():
    said = words(FIGURE6, SIX)
    short = ", bn_fraction 0.9"
    as_long = said["triangular", "better than", "fixed", 4000]
    assert as_long[0] == "better" and as_long[1] == pytest.approx(15, abs=0.5)
    assert said["triangular", "not worse than", "fixed", None][0] == "undecided"
    as_long = said[f"triangular{short}", "better than", f"fixed{short}", 4000]
    assert as_long[0] == "better" and as_long[1] == pytest.approx(11, abs=0.5)
    ends = [at(run, 4000) for run in SIX[f"fixed{short}"]]
    assert 8 < max(ends) - min(ends) < 9
    assert said[f"triangular{short}", "not worse than", f"fixed{short}", None][0] == "not worse"
    for end, word in (("", "better"), (short, "better")):
        found = said[f"triangular{end}", "better than", f"fixed at the mean{end}", None]
        assert found[0] == word and 6 < found[1] < 7.2
    assert sum(FIGURE6_BOUNDS) / 2 / FIGURE6_BOUNDS[0] == pytest.approx(13, abs=0.5)


def test_what_short_running_means_gain():
    said = {}
    for arm, points in (("fixed", 7), ("triangular", 6), ("fixed at the mean", 5)):
        pair = [SIX[f"{arm}, bn_fraction 0.9"], SIX[arm]]
        assert round(mean(pair[0]) - mean(pair[1])) == points
        ends = ([run.final_accuracy for run in runs] for runs in pair)
        said[arm] = [round(100 * end, 1) for end in verdicts.interval(*ends, paired=True)]
    assert said["triangular"] == [0.3, 10.9]
    assert said["fixed"][0] > 0 > said["fixed at the mean"][0]
    for one, other in zip(SIX["fixed"], SIX["fixed, bn_fraction 0.9"], strict=True):
        pair = [run.history["train_loss"].iloc[-1] for run in (one, other)]
        assert np.ptp(pair) < 0.003


def test_notebook_5_says_where_figure6_ends_at_the_length_of_caffes_example():
    (fixed,), (cycle,) = WHOLE["fixed"], WHOLE["triangular"]
    said = [at(fixed), at(fixed, 25_000), at(cycle)]
    assert [f"{number:.1f}" for number in said] == ["61.2", "63.4", "63.4"]
    top = fixed.history["test_accuracy"].idxmax()
    assert abs(fixed.history["iteration"][top] - 25_000) <= 1000
    leads = [at(cycle, t) - at(fixed, t) for t in range(4000, 20_001, 4000)]
    assert 14 <= leads[0] < 15 and 0 < leads[-1] < 1
    assert leads == sorted(leads, reverse=True)


def test_the_bounds_of_figure6_are_those_of_its_second_range_test():
    first, second = (
        RangeTest.from_runs(SIX[arm]).bounds() for arm in ("range ramp", "range ramp, to 0.2")
    )
    assert first.max_lr is None and [high for _, high in first.seeds].count(None) == 3
    assert len(second.seeds) == 5
    assert first.base_lr / second.base_lr == pytest.approx(13, abs=0.5)
    highs = sorted(high for _, high in second.seeds)
    assert [f"{high:.3f}" for high in (highs[0], highs[-1])] == ["0.032", "0.075"]
    read = tuple(float(f"{bound:.2g}") for bound in (second.base_lr, second.max_lr))
    assert read == FIGURE6_BOUNDS
