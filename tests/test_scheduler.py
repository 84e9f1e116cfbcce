import json

import numpy as np
import pytest
import torch

from clr.policies import Fixed, OneCycleMomentum, RangeRamp, Triangular, Triangular2
from clr.scheduler import PolicyLR

POLICY = Triangular2(0.01, 0.1, 7)


def optimizer(cls=torch.optim.SGD, lr=0.5, **kwargs):
    return cls([torch.nn.Parameter(torch.zeros(1))], lr=lr, **kwargs)


def follow(scheduler, n):
    rates = []
    for _ in range(n):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_follows_the_policy_over_several_blocks():
    assert follow(PolicyLR(optimizer(), POLICY), 3000) == POLICY(np.arange(3000)).tolist()


def test_what_the_optimizer_had_before_plays_no_part():
    used = optimizer()
    torch.optim.lr_scheduler.CosineAnnealingLR(used, 10)
    assert follow(PolicyLR(used, POLICY), 3) == POLICY([0, 1, 2]).tolist()


def test_a_policy_with_an_end_can_be_stepped_to_it_and_no_further():
    scheduler = PolicyLR(optimizer(), RangeRamp(0, 1, 10))
    follow(scheduler, 10)
    assert scheduler.get_last_lr() == [1.0]
    with pytest.raises(ValueError, match="iteration 11 is past the end"):
        scheduler.step()


def test_lr_mult_and_groups_added_later():
    sgd = optimizer()
    scheduler = PolicyLR(sgd, Fixed(0.1))
    sgd.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr_mult": 2.0})
    follow(scheduler, 1)
    assert [group["lr"] for group in sgd.param_groups] == [0.1, 0.2]


def test_momentum_is_driven_only_when_asked():
    momentum = OneCycleMomentum(0.85, 0.95, 10)
    sgd, adam = optimizer(momentum=0.5), optimizer(torch.optim.Adam)
    PolicyLR(sgd, POLICY), PolicyLR(adam, POLICY)
    assert sgd.param_groups[0]["momentum"] == 0.5
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)
    for each in (sgd, adam):
        follow(PolicyLR(each, POLICY, momentum=momentum), 10)
    assert sgd.param_groups[0]["momentum"] == 0.85
    assert adam.param_groups[0]["betas"] == (0.85, 0.999)


def test_state_is_plain_and_goes_on_exactly():
    scheduler = PolicyLR(optimizer(), POLICY)
    follow(scheduler, 11)
    state = json.loads(json.dumps(scheduler.state_dict()))
    assert state == {"iteration": 11, "policy": POLICY.to_dict(), "momentum": None}
    for _ in range(2):  # the same dict loads twice
        again = PolicyLR(optimizer(), POLICY)
        again.load_state_dict(state)
        assert again.optimizer.param_groups[0]["lr"] == POLICY(11)
        assert follow(again, 20) == POLICY(np.arange(11, 31)).tolist()


def test_state_of_another_policy_is_refused():
    state = PolicyLR(optimizer(), POLICY).state_dict()
    other = PolicyLR(optimizer(), Triangular(0.01, 0.1, 7))
    with pytest.raises(ValueError, match="policy of the saved state"):
        other.load_state_dict(state)


def test_starts_at_a_given_iteration():
    assert follow(PolicyLR(optimizer(), POLICY, iteration=5), 2) == POLICY([5, 6]).tolist()


@pytest.mark.parametrize("bad", [0.1, None, lambda t: 0.1])
def test_anything_but_a_policy_is_refused(bad):
    with pytest.raises(TypeError, match="policy must be a clr Policy"):
        PolicyLR(optimizer(), bad)
    if bad is not None:
        with pytest.raises(TypeError, match="momentum must be a clr Policy"):
            PolicyLR(optimizer(), POLICY, momentum=bad)
