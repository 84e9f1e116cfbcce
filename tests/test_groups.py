"""What multiplies the rate in each parameter group: the rule of both tools."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LinearLR, SequentialLR

from clr.groups import multipliers
from clr.policies import Fixed, Triangular
from clr.scheduler import PolicyLR

POLICY = Triangular(0.01, 0.1, 7)


def sgd(*groups, lr=0.1):
    return torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], **group} for group in groups], lr=lr
    )


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([{}], [1]),
        ([{"lr": 0.0}], [1]),  # nothing to keep a ratio to
        ([{}, {"lr": 0.01}], [1, 0.1]),
        ([{"lr": 0.0}, {"lr": 0.2}, {"lr": 0.1}], [0, 1, 0.5]),  # a frozen group
        ([{"lr_mult": 0.5}, {"lr": 0.0}], [0.5, 0]),
        ([{"lr_mult": 0.1, "lr": 0.01}, {}], [0.1, 1]),
        ([{"lr_mult": 0.1, "lr": 0.0}, {"lr_mult": 0}], [0.1, 0]),
        ([{"lr_mult": 2}, {"lr_mult": 3.0}], [2, 3]),
        ([{"lr_scale": 0.25}, {"lr_scale": 1.0}], [0.25, 1]),  # as timm writes them
        ([{"lr_scale": 0.25, "lr_mult": 0.5}, {}], [0.5, 1]),
        ([{"lr": torch.tensor(0.5)}, {"lr": torch.tensor(0.25)}], [1, 0.5]),
        ([{"lr": 0.0, "initial_lr": 0.4}, {"lr": 0.0, "initial_lr": 0.1}], [1, 0.25]),
        ([{"lr": 0.0, "initial_lr": 0.4}, {"lr": 0.1, "initial_lr": 0.1}], [0, 1]),
    ],
)
def test_a_group_keeps_its_ratio_or_has_its_lr_mult(groups, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert multipliers(sgd(*groups).param_groups) == pytest.approx(expected)


def test_where_no_lr_gives_a_ratio_a_warning_names_lr_mult():
    with pytest.warns(UserWarning, match=r"each of .* 3 .*groups is 0 .*group\['lr_mult'\]"):
        assert multipliers(sgd({}, {"lr_mult": 0.5}, {}, lr=0.0).param_groups) == [1, 0.5, 1]


@pytest.mark.parametrize("name", ["lr_mult", "lr_scale"])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("0.1", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_a_bad_multiplier_is_named(name, bad, error):
    says = f"{name} of parameter group 1 must be .*finite and at least 0; got {bad!r}"
    with pytest.raises(error, match=says):
        multipliers(sgd({}, {name: bad}).param_groups)


def test_an_lr_that_is_no_rate_is_named():
    with pytest.raises(ValueError, match="lr of parameter group 1 must be finite .*; got nan"):
        multipliers(sgd({}, {"lr": float("nan")}).param_groups)


# --- under PolicyLR ---------------------------------------------------------------------


def rates(scheduler, n):
    """The lr of each group (n rows)."""
    found = []
    for _ in range(n):
        found.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return np.array(found)


def times(*multipliers, first=0, n=20):
    return pytest.approx(np.outer(POLICY(np.arange(first, first + n)), multipliers))


def body(**group):
    return {"params": [torch.nn.Parameter(torch.zeros(1))], **group}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([{"lr": 0.0}, {"lr": 0.2}, {"lr": 0.02}], [0, 1, 0.1]),
        ([{}, {"lr_mult": 3.0}, {"lr_scale": 0.5}], [1, 3, 0.5]),
        ([{"lr": 0.0}], [1]),
        ([{"lr": torch.tensor(0.5, dtype=torch.double)}, {"lr": 0.05}], [1, 0.1]),
    ],
)
def test_policy_lr_follows_the_rule(groups, expected):
    assert rates(PolicyLR(sgd(*groups), POLICY), 20) == times(*expected)


def test_one_policy_per_group_is_multiplied_by_lr_mult_alone():
    scheduler = PolicyLR(sgd({"lr": 0.1}, {"lr": 0.001, "lr_mult": 2.0}), [POLICY, POLICY])
    assert rates(scheduler, 20) == times(1, 2)


def test_a_warning_where_every_lr_is_0():
    optimizer = sgd({}, {}, lr=0.0)
    with pytest.warns(UserWarning, match="lr_mult"):
        scheduler = PolicyLR(optimizer, POLICY)
    assert rates(scheduler, 20) == times(1, 1)


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "0.1"])
def test_a_bad_lr_mult_is_named_when_it_is_first_seen(bad):
    says = "lr_mult of parameter group 1 must be .*; got"
    for policy in (POLICY, [POLICY, POLICY]):
        optimizer = sgd({}, {"lr_mult": bad})
        with pytest.raises((TypeError, ValueError), match=says):
            PolicyLR(optimizer, policy)
        assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
        assert "initial_lr" not in optimizer.param_groups[0]
    for write in ("add", "change"):
        scheduler = PolicyLR(sgd({}, {}) if write == "change" else sgd({}), POLICY)
        rates(scheduler, 3)
        if write == "add":
            scheduler.optimizer.add_param_group(body(lr_mult=bad))
        else:
            scheduler.optimizer.param_groups[1]["lr_mult"] = bad
        before = [group["lr"] for group in scheduler.optimizer.param_groups]
        with pytest.raises((TypeError, ValueError), match=says):
            scheduler.step()
        assert [group["lr"] for group in scheduler.optimizer.param_groups] == before
        assert scheduler.last_epoch == 3


def test_an_lr_mult_that_is_changed_counts_from_the_next_step():
    scheduler = PolicyLR(sgd({}, {"lr_mult": 0.0}), POLICY)
    assert rates(scheduler, 5) == times(1, 0, n=5)
    scheduler.optimizer.param_groups[1]["lr_mult"] = 0.1
    scheduler.step()
    assert rates(scheduler, 5) == times(1, 0.1, first=6, n=5)


ADDED = {
    "a tenth of the rate": (lambda now: body(lr=now / 10), 0.1),
    "a tenth by lr_mult": (lambda now: body(lr_mult=0.1), 0.1),
    "a tenth by lr_scale": (lambda now: body(lr_scale=0.1), 0.1),
    "without an lr": (lambda now: body(), 1),
    "frozen": (lambda now: body(lr=0.0), 0),
}


@pytest.mark.parametrize("how", ADDED)
@pytest.mark.parametrize("resumed", [None, "both groups are built", "the group is added"])
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_group_that_is_added_keeps_its_ratio_also_when_resumed(how, resumed, optimizer_first):
    make, ratio = ADDED[how]
    scheduler = PolicyLR(sgd({}), POLICY)
    rates(scheduler, 5)
    scheduler.optimizer.add_param_group(make(POLICY(5)))
    scheduler.step()
    if resumed is not None:
        states = [json.dumps(scheduler.state_dict()), scheduler.optimizer.state_dict()]
        together = resumed == "both groups are built"
        scheduler = PolicyLR(sgd({}, {}) if together else sgd({}), POLICY)
        if not together:
            scheduler.optimizer.add_param_group(body(lr=0.3))
        if optimizer_first:
            scheduler.optimizer.load_state_dict(states[1])
        scheduler.load_state_dict(json.loads(states[0]))
        if not optimizer_first:
            scheduler.optimizer.load_state_dict(states[1])
    assert rates(scheduler, 20) == times(1, ratio, first=6)


def test_the_factor_is_kept_if_the_optimizers_state_is_not_loaded():
    scheduler = PolicyLR(sgd({}, {"lr_mult": 0.1}), POLICY)
    rates(scheduler, 5)
    again = PolicyLR(sgd({}, {}), POLICY)
    again.load_state_dict(scheduler.state_dict())
    assert rates(again, 20) == times(1, 0.1, first=5)


def test_a_group_that_was_added_just_before_the_state_was_saved():
    scheduler = PolicyLR(sgd({}), POLICY)
    rates(scheduler, 5)
    scheduler.optimizer.add_param_group(body(lr=POLICY(5) / 10))
    again = PolicyLR(sgd({}, {}), POLICY)
    again.load_state_dict(scheduler.state_dict())
    assert rates(again, 20) == times(1, 0.1, first=5)


@pytest.mark.parametrize(
    ("lr", "after", "ratio"),
    [(0.01, 10, 1), (1.0, 2, 1), (0.0, 10, 0)],  # after 10 iterations the rate is 0
)
def test_a_warning_where_the_lr_of_an_added_group_is_no_share_of_the_rate(lr, after, ratio):
    scheduler = PolicyLR(sgd({}), Triangular(0.0, 0.1, 5))
    rates(scheduler, after)
    scheduler.optimizer.add_param_group(body(lr=lr))
    with pytest.warns(UserWarning, match=r"lr of parameter group 1 .* rate is .*\['lr_mult'\]"):
        scheduler.step()
    rate = scheduler.get_last_lr()[0]
    assert rate > 0 and scheduler.get_last_lr()[1] == ratio * rate


def test_a_frozen_group_is_unfrozen_by_its_lr():
    scheduler = PolicyLR(sgd({}, {"lr": 0.0}), POLICY)
    assert rates(scheduler, 5) == times(1, 0, n=5)
    scheduler.optimizer.param_groups[1]["lr"] = POLICY(5) / 10
    scheduler.step()
    assert rates(scheduler, 5) == times(1, 0.1, first=6, n=5)


def test_a_group_that_is_frozen_by_hand_stays_frozen():
    scheduler = PolicyLR(sgd({}, {}), POLICY)
    rates(scheduler, 5)
    scheduler.optimizer.param_groups[1]["lr"] = 0.0
    scheduler.step()
    assert rates(scheduler, 5) == times(1, 0, first=6, n=5)


def test_a_second_scheduler_on_the_same_optimizer_keeps_the_ratios():
    optimizer = sgd({}, {"lr": 0.01}, {"lr_mult": 0.5})
    rates(PolicyLR(optimizer, Fixed(0.3)), 3)
    assert rates(PolicyLR(optimizer, POLICY), 20) == times(1, 0.1, 0.5)


def test_a_tensor_that_torch_gives_to_several_groups_is_not_shared():
    tensor = torch.tensor(0.5, dtype=torch.double)
    optimizer = sgd({}, {"lr_mult": 0.1}, {"lr_mult": 0.0}, lr=tensor)
    assert all(group["lr"] is tensor for group in optimizer.param_groups)
    scheduler = PolicyLR(optimizer, POLICY)
    rates(scheduler, 3)
    now = [POLICY(3) * mult for mult in (1, 0.1, 0)]
    assert [float(group["lr"]) for group in optimizer.param_groups] == scheduler.get_last_lr()
    assert scheduler.get_last_lr() == pytest.approx(now)
    assert optimizer.param_groups[0]["lr"] is tensor and optimizer.defaults["lr"] == 0.5
    optimizer.add_param_group(body())  # with the default lr
    scheduler.step()
    now = [POLICY(4) * mult for mult in (1, 0.1, 0, 1)]
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx(now)


def test_a_group_that_is_added_while_another_scheduler_runs_keeps_its_ratio_to_that_ones_lr():
    optimizer = sgd({}, lr=0.5)
    both = [LinearLR(optimizer, 0.1, total_iters=5), PolicyLR(optimizer, POLICY)]
    scheduler = SequentialLR(optimizer, both, [5])
    for _ in range(3):
        optimizer.step(), scheduler.step()
    optimizer.add_param_group(body(lr=optimizer.param_groups[0]["lr"] / 10))
    for _ in range(3):
        optimizer.step(), scheduler.step()
    now = [POLICY(1), 0.1 * POLICY(1)]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(now)


def test_rates_that_are_tensors_are_read_back_only_if_they_changed():
    """On a GPU, reading one back waits for the device."""
    optimizer = sgd({"lr": torch.tensor(0.1, dtype=torch.double)})
    scheduler = PolicyLR(optimizer, POLICY)
    rates(scheduler, 2)
    lr, read = optimizer.param_groups[0]["lr"], []

    class Watched(torch.Tensor):
        def __float__(self):
            read.append(1)
            return super().__float__()

    optimizer.param_groups[0]["lr"] = watched = lr.as_subclass(Watched)
    scheduler.step()
    read.clear()
    for _ in range(5):
        scheduler.step()
    assert not read and watched.item() == POLICY(8)
    watched.mul_(0.5)
    scheduler.step()
    assert read and watched.item() == pytest.approx(0.5 * POLICY(9))
