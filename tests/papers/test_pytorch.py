"""The table of notebook 1: where PyTorch's schedulers go wrong, and PolicyLR does not."""

import numpy as np
import pytest
from torch.optim.lr_scheduler import CyclicLR

from clr.papers import pytorch
from clr.policies import Triangular


@pytest.fixture(scope="module")
def table():
    return pytorch.trials(0.001, 0.006, 2000)


def test_policy_lr_is_right_in_every_row(table):
    *rates, past_the_end = table.itertuples()
    assert all(row.PolicyLR == row.right for row in rates)
    assert (past_the_end.right, past_the_end.PolicyLR) == ("an error", "ValueError")


def test_pytorch_is_wrong_in_every_row(table):
    # else torch has mended a bug, and the row goes
    assert all(row.PyTorch != row.right for row in table.itertuples())
    assert float(table["PyTorch"].iloc[-1]) < 0  # and no error
    assert table["PyTorch"].iloc[0] == str(pytorch.STRANGE)


def test_rates_are_those_that_the_optimizer_holds():
    policy = Triangular(0.1, 0.3, 4)
    scheduler = CyclicLR(pytorch.optimizer(), 0.1, 0.3, 4, cycle_momentum=False)
    assert np.allclose(pytorch.rates(scheduler, 20), policy(np.arange(20)), rtol=1e-12)
