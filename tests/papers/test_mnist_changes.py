"""What notebook 4 says about `mnist_changes` is what its records say."""

import numpy as np

from clr.papers import published, verdicts
from clr.papers import super_convergence as sc
from clr.papers.verdicts import Summary
from clr.runs import Store

RUNS = sc.MNIST_CHANGES.recorded(Store.committed())
CHANGES = [claim.arm for claim in sc.MNIST_CHANGES.claims]
MEANS = {arm: 100 * Summary.of(RUNS[arm]).mean for arm in ("1cycle, 12 epochs", *CHANGES)}
PAPER = 100 * published.of(sc.MNIST).loc["1cycle, 12 epochs", "accuracy"]


def test_every_change_has_four_runs_and_none_reaches_the_paper():
    assert len(CHANGES) == 5 and {len(RUNS[arm]) for arm in MEANS} == {4}
    assert max(MEANS.values()) < PAPER - 0.05


def test_a_constant_momentum_goes_half_of_the_way():
    assert max(MEANS, key=MEANS.get) == "momentum 0.9"
    gain = MEANS["momentum 0.9"] - MEANS["1cycle, 12 epochs"]
    assert 0.4 < gain / (PAPER - MEANS["1cycle, 12 epochs"]) < 0.65


def test_nesterov_is_lower_and_the_others_are_undecided():
    table = verdicts.table(sc.MNIST_CHANGES, RUNS)["verdict"]
    said = {arm: table[f"{arm} is better than 1cycle, 12 epochs"] for arm in CHANGES}
    assert said.pop("Nesterov") == "no" and set(said.values()) == {"undecided"}


def test_the_best_test_of_each_run_is_two_hundredths_higher():
    best = [run.history["test_accuracy"].max() for run in RUNS["1cycle, 12 epochs"]]
    assert 0.01 < 100 * np.mean(best) - MEANS["1cycle, 12 epochs"] < 0.025
