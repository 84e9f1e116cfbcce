"""The author's logs print the rates of our policies."""

import numpy as np
import pytest

from clr.papers import author_logs
from clr.policies import Triangular


@pytest.fixture(scope="module")
def rows():
    return author_logs.compared()


def test_all_rates_but_two_agree_to_the_last_printed_digit(rows):
    assert len(rows) > 1000 and rows["log"].nunique() == 29
    differ = rows[~rows["same"]]
    assert list(differ["iteration"]) == [2000, 3000] and differ["log"].nunique() == 1
    assert np.allclose(differ["lr"], differ["ours"], rtol=2e-6)


def test_in_single_precision_all_rates_of_the_triangular_logs_agree(rows):
    """Caffe computes with 32 bits."""
    for row in rows.itertuples():
        policy = author_logs.policy_of(row.log)
        if isinstance(policy, Triangular):
            x = np.float32((row.iteration - policy.stepsize) / policy.stepsize)  # one cycle
            swing = np.float32(policy.max_lr - policy.base_lr)
            rate = swing * (1 - abs(x)) + np.float32(policy.base_lr)
            assert float(f"{rate:.6g}") == row.lr


def test_the_best_tests_of_equal_ramps_differ_by_a_factor_of_1_5():
    # what notebook 2 says
    rates = author_logs.range_tests().loc["0 to 2", "at rate"].astype(float)
    assert len(rates) == 3 and 1.45 < rates.max() / rates.min() < 1.55
