"""Table 3 and Fig. 6 of CLR: the experiments against the paper's numbers and Caffe's rules."""

from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from clr.papers import EXPERIMENTS, published, solvers
from clr.papers.solvers import FIGURE6, FIGURE6_BOUNDS, FIGURE6_FULL, SOLVERS
from clr.paths import ROOT
from clr.policies import Fixed
from clr.range_test import RangeTest
from clr.runs import Store
from clr.training import RunConfig, Training, load
from clr.training.datasets import Dataset

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
            assert config.policy.stepsize in range(2 * solvers.EPOCH, 10 * solvers.EPOCH + 1)


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
            source = solvers.IN_A_THIRD.get(name, "control")
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
        assert all(loss.isfinite() for loss in training.losses)
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


def test_the_published_cycle_of_figure6_is_joined():
    rows = published.numbers()
    rows = rows[rows["place"] == "CLR Fig. 6"].set_index("policy")["arm"].to_dict()
    assert rows == {"fixed": "fixed", "triangular": "triangular"}


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
        {name: update_sizes(solver, solver.base_lr, 100)[1] for name, solver in SOLVERS.items()}
    )
    first, last = sizes.iloc[0], sizes.tail(20).median()
    assert 0.8 < first["Adam"] < 1.01 and 8 < first["RMSprop"] < 10.01
    assert 0.9 < first["AdaGrad"] < 1.01 and last["AdaGrad"] < 0.3
    assert last["RMSprop"] / last["AdaDelta"] > 10_000  # four orders of magnitude
    whole = last * pd.Series({name: solver.base_lr for name, solver in SOLVERS.items()})
    alike = whole[["Adam", "RMSprop", "AdaGrad"]]
    assert alike.max() < 10 * alike.min() and whole.idxmin() == "AdaDelta"


def test_notebook_5_says_what_adadelta_does_with_a_rate(update_sizes):
    solver = SOLVERS["AdaDelta"]
    runs = {rate: update_sizes(solver, rate, 200) for rate in (0.01, 0.1, 1.0)}
    grown = {rate: np.divide(sizes, sizes[0]) for rate, (_, sizes) in runs.items()}
    assert grown[1.0][:50].max() > 10 and grown[0.01].max() < 2
    assert grown[0.1][:50].max() < 2 < grown[0.1].max()
    losses = {r: torch.stack(run.losses[-20:]).mean().item() for r, (run, _) in runs.items()}
    assert losses[1.0] < 1 and losses[0.01] == pytest.approx(np.log(10), abs=0.02)


def test_notebook_5_says_that_only_range_tests_have_been_run():
    """When other runs come, its first cell and its last section change, and this test goes."""
    cells = nbformat.read(ROOT / "notebooks" / "05_other_solvers.ipynb", as_version=4).cells
    assert "only range tests have been made yet" in " ".join(cells[1].source.split())
    for each in (solvers.TABLE3, solvers.SOLVERS_SHORT, solvers.FIGURE6_FULL):
        assert not each.best_recorded(Store.committed())
    assert set(solvers.FIGURE6.best_recorded(Store.committed())) == {
        "range ramp",
        "range ramp, to 0.2",
    }


def test_notebook_5_says_how_far_our_bounds_are_from_the_papers():
    runs = solvers.SOLVER_RANGES.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    low, high = {}, {}
    for name, each in runs.items():
        found, theirs = RangeTest.from_runs(each).bounds(), SOLVERS[name]
        low[name] = found.base_lr / theirs.base_lr
        high[name] = found.max_lr / theirs.max_lr
    assert high.pop("AdaDelta") == pytest.approx(3, abs=0.2) and len(high) == 4
    assert min(high.values()) > 0.5 and max(high.values()) < 2.05
    assert max(low.values()) == low["AdaDelta"] == pytest.approx(2.5, abs=0.25)
    assert sorted(low.values())[:2] == sorted([low["Adam"], low["RMSprop"]])
    assert [low["Adam"], low["RMSprop"]] == pytest.approx([0.2, 0.2], abs=0.05)


def test_the_bounds_of_figure6_are_those_of_its_second_range_test():
    runs = FIGURE6.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    first, second = (
        RangeTest.from_runs(runs[arm]).bounds() for arm in ("range ramp", "range ramp, to 0.2")
    )
    assert first.max_lr is None and [high for _, high in first.seeds].count(None) == 3
    assert len(second.seeds) == 5
    read = tuple(float(f"{bound:.2g}") for bound in (second.base_lr, second.max_lr))
    assert read == FIGURE6_BOUNDS
