import copy
import io
import json
import pickle
import re

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from clr.policies import (
    ExpRange,
    Fixed,
    OneCycleMomentum,
    Policy,
    RangeRamp,
    Stages,
    Triangular,
    Triangular2,
)
from clr.scheduler import PolicyLR
from clr.training import RunConfig

POLICY = Triangular2(0.01, 0.1, 7)


def parameter():
    return torch.nn.Parameter(torch.zeros(1))


def optimizer(cls=torch.optim.SGD, lr=0.5, groups=1, **kwargs):
    return cls([{"params": [parameter()]} for _ in range(groups)], lr=lr, **kwargs)


def follow(scheduler, n):
    rates = []
    for _ in range(n):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_follows_the_policy_over_several_blocks():
    assert follow(PolicyLR(optimizer(), POLICY), 3000) == POLICY(np.arange(3000)).tolist()


class Counted(RangeRamp, name="counted"):
    """A ramp that counts the values that it computes."""

    computed = 0

    def _values(self, t):
        type(self).computed += t.size
        return super()._values(t)


@pytest.mark.parametrize("past_end", ["hold", "cycle"])
def test_past_a_policys_end_values_are_computed_once(past_end):
    Counted.computed = 0
    follow(PolicyLR(optimizer(), Counted(0, 1, 100, past_end=past_end)), 4000)
    assert 4000 <= Counted.computed <= 6000


def test_a_policy_that_returns_another_shape_is_named():
    class Constant(Policy, name="constant"):
        def _values(self, t):
            return 0.1

    sgd = optimizer()
    with pytest.raises(ValueError, match=r"_values of Constant must .* of shape \(1024,\)"):
        PolicyLR(sgd, Constant())
    assert "initial_lr" not in sgd.param_groups[0] and sgd.param_groups[0]["lr"] == 0.5


def test_a_rate_below_0_is_refused_before_the_optimizer_uses_it():
    class Sinks(Policy, name="sinks"):
        def _values(self, t):
            return 1.0 - t / 2000

    used = optimizer()
    scheduler = PolicyLR(used, Sinks())
    follow(scheduler, 2000)  # up to the iteration at which the rate is 0
    with pytest.raises(ValueError, match="rate at iteration 2001 must be .*; got -0.000[45]"):
        follow(scheduler, 1)
    assert used.param_groups[0]["lr"] == 0


def test_a_policy_with_an_end_can_be_stepped_to_it_and_no_further():
    scheduler = PolicyLR(optimizer(), RangeRamp(0, 1, 10))
    follow(scheduler, 10)
    assert scheduler.get_last_lr() == [1.0]
    with pytest.raises(ValueError, match="iteration 11 is past the end"):
        scheduler.step()


def test_momentum_is_driven_when_asked():
    momentum = OneCycleMomentum(0.85, 0.95, 10)
    for each in (optimizer(momentum=0.5), optimizer(torch.optim.Adam)):
        follow(PolicyLR(each, POLICY, momentum=momentum), 10)
        group = each.param_groups[0]
        assert group.get("momentum", 0.85) == 0.85
        assert group.get("betas", (0.85, 0.999)) == (0.85, 0.999)


class Wild(Policy, name="wild"):
    """0.9, from iteration 5 on a value that no momentum can have."""

    late = 1.0

    def _values(self, t):
        return np.where(t < 5, 0.9, self.late)


@pytest.mark.parametrize("late", [1.0, -0.1, float("nan")])
def test_a_momentum_out_of_range_never_reaches_the_optimizer(monkeypatch, late):
    monkeypatch.setattr(Wild, "late", late)
    sgd = optimizer(momentum=0.5)
    scheduler = PolicyLR(sgd, POLICY, momentum=Wild())
    follow(scheduler, 4)
    with pytest.raises(ValueError, match="momentum at iteration 5 must be .* below 1; got"):
        scheduler.step()
    assert sgd.param_groups[0]["momentum"] == 0.9
    says = "momentum_policy at iteration 5 must be at least 0 and below 1; got"
    with pytest.raises(ValueError, match=says):  # the same check
        RunConfig(POLICY, 10, momentum_policy=Wild())
    RunConfig(POLICY, 4, momentum_policy=Wild())


def all_of(scheduler):
    """Everything that a scheduler and its optimizer hold, to compare."""
    own = scheduler.last_epoch, scheduler._step_count, scheduler.get_last_lr()
    return copy.deepcopy((own, scheduler.state_dict(), scheduler.optimizer.state_dict()))


@pytest.mark.parametrize(
    "fail",
    [
        lambda scheduler: scheduler.step(),
        lambda scheduler: scheduler.step(99),
        lambda scheduler: scheduler.load_state_dict(changed(scheduler, iteration=99)),
        lambda scheduler: scheduler.load_state_dict(changed(scheduler, iteration=1.5)),
        lambda scheduler: scheduler.load_state_dict(changed(scheduler, iteration=-2)),
        lambda scheduler: scheduler.load_state_dict(changed(scheduler, lr=[0.2, "0.1"])),
        lambda scheduler: scheduler.load_state_dict(changed(scheduler, lr=[0.2, None])),
    ],
)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_a_failed_call_changes_nothing(fail):
    momentum = Stages(((OneCycleMomentum(0.85, 0.95, 5), 10),), past_end="hold")
    sgd = optimizer(groups=2, momentum=0.5)
    scheduler = PolicyLR(sgd, [POLICY, RangeRamp(0, 1, 10)], momentum=momentum)
    follow(scheduler, 10)
    before = all_of(scheduler)
    with pytest.raises((ValueError, TypeError)):
        fail(scheduler)
    assert all_of(scheduler) == before
    again = PolicyLR(optimizer(groups=2, momentum=0.5), scheduler.policies, momentum=momentum)
    again.load_state_dict(scheduler.state_dict())
    assert again.get_last_lr() == [POLICY(10), 1.0]


def changed(scheduler, **values):
    return scheduler.state_dict() | values


@pytest.mark.parametrize("last_epoch", [-1, 10])
def test_a_scheduler_that_is_refused_leaves_the_optimizer_alone(last_epoch):
    sgd = optimizer(momentum=0.5)
    before = copy.deepcopy(sgd.state_dict())
    momentum = Fixed(1.0 if last_epoch == -1 else 0.9)
    with pytest.raises(ValueError, match="momentum at iteration 0|iteration 11 is past"):
        PolicyLR(sgd, RangeRamp(0, 1, 10), momentum=momentum, last_epoch=last_epoch)
    assert sgd.state_dict() == before


def test_an_optimizer_without_momentum_has_none_to_drive():
    adagrad = optimizer(torch.optim.Adagrad)
    with pytest.raises(ValueError, match="momentum must be None for Adagrad, which has none"):
        PolicyLR(adagrad, POLICY, momentum=OneCycleMomentum(0.85, 0.95, 10))
    assert "momentum" not in adagrad.param_groups[0]


def test_a_policy_for_each_group():
    policies = [POLICY, Fixed(0.3)]
    sgd = optimizer(groups=2)
    sgd.param_groups[1]["lr_mult"] = 2.0
    scheduler = PolicyLR(sgd, policies)
    follow(scheduler, 7)
    assert scheduler.get_last_lr() == [POLICY(7), 0.6]
    state = json.loads(json.dumps(scheduler.state_dict()))
    again = PolicyLR(optimizer(groups=2), policies)
    again.load_state_dict(state)
    assert again.get_last_lr() == [POLICY(7), 0.6]
    assert [group["lr"] for group in again.optimizer.param_groups] == [POLICY(7), 0.6]
    with pytest.raises(ValueError, match="one for each of the 3 parameter groups; got 2"):
        PolicyLR(optimizer(groups=3), policies)
    sgd.add_param_group({"params": [parameter()]})
    with pytest.raises(ValueError, match="one for each of the 3 parameter groups; got 2"):
        scheduler.step()


def test_state_is_plain_and_goes_on_exactly():
    scheduler = PolicyLR(optimizer(), POLICY)
    follow(scheduler, 11)
    state = json.loads(json.dumps(scheduler.state_dict()))
    assert state == {
        "iteration": 11,
        "lr": [POLICY(11)],
        "policy": [POLICY.to_dict()],
        "momentum": None,
        "groups": [{"lr_mult": 1.0, "factor": 1.0, "lr": POLICY(11)}],
    }
    again = PolicyLR(optimizer(), POLICY)
    again.load_state_dict(state)
    assert again.optimizer.param_groups[0]["lr"] == POLICY(11)
    assert follow(again, 20) == POLICY(np.arange(11, 31)).tolist()


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_state_of_a_shorter_policy_is_continued_when_asked(optimizer_first):
    """`change_policy` keeps the iteration, also if it is loaded as frameworks do it."""
    short, longer = RangeRamp(0.0, 0.1, 10), RangeRamp(0.0, 0.1, 20)
    momentum = OneCycleMomentum(0.85, 0.95, 10)
    before = PolicyLR(optimizer(groups=2, momentum=0.9), short)
    before.optimizer.param_groups[1]["lr_mult"] = 0.5
    follow(before, 4)
    again = PolicyLR(
        optimizer(groups=2, momentum=0.9), longer, momentum=momentum, change_policy=True
    )
    pairs = [(again, before), (again.optimizer, before.optimizer)]
    for new, old in pairs[::-1] if optimizer_first else pairs:
        new.load_state_dict(old.state_dict())
    if optimizer_first:  # else the optimizer's state brings the old rate back for one update
        assert again.get_last_lr() == [longer(4), 0.5 * longer(4)]
        assert again.optimizer.param_groups[0]["momentum"] == momentum(4)
    assert follow(again, 16)[1:] == longer(np.arange(5, 20)).tolist()
    assert again.get_last_lr() == [0.1, 0.05]


@pytest.mark.parametrize("rate", [0.2, 0.05])
def test_a_scheduler_that_waits_leaves_the_rate_to_the_first_one_when_its_state_is_loaded(rate):
    def made(first):
        sgd = optimizer()
        first = PolicyLR(sgd, Fixed(first), change_policy=True)
        return SequentialLR(sgd, [first, PolicyLR(sgd, Fixed(0.01))], [6])

    before, again = made(0.1), made(rate)
    follow(before, 3)
    again.optimizer.load_state_dict(before.optimizer.state_dict())
    again.load_state_dict(before.state_dict())
    assert follow(again, 5) == [rate] * 3 + [0.01] * 2


def test_without_change_policy_the_message_has_the_right_k():
    short, longer = RangeRamp(0.0, 0.1, 10), RangeRamp(0.0, 0.1, 20)
    before = PolicyLR(optimizer(), short)
    follow(before, 4)
    again = PolicyLR(optimizer(), longer)
    with pytest.raises(
        ValueError, match="policy of the saved state is .*change_pol"
    ) as refused:
        again.load_state_dict(before.state_dict())
    k = int(re.search(r"last_epoch=(\d+)\)", str(refused.value))[1])
    fresh = PolicyLR(optimizer(), longer, last_epoch=k)
    assert follow(fresh, 1) == [longer(4)]  # the iteration that comes next
    assert "Lightning" in str(refused.value) and "Hugging Face" in str(refused.value)


def test_change_policy_needs_no_policy_that_is_not_defined_any_more():
    state = PolicyLR(optimizer(), POLICY).state_dict()
    state["policy"] = [{"policy": "gone", "rate": 1}]
    again = PolicyLR(optimizer(), POLICY, change_policy=True)
    again.load_state_dict(state)
    assert follow(again, 3) == POLICY([0, 1, 2]).tolist()
    with pytest.raises(TypeError, match="change_policy must be True or False; got 1"):
        PolicyLR(optimizer(), POLICY, change_policy=1)


def test_a_state_from_before_the_groups_were_saved():
    scheduler = PolicyLR(optimizer(groups=2), POLICY)
    follow(scheduler, 5)
    state = scheduler.state_dict()
    del state["groups"]
    again = PolicyLR(optimizer(groups=2), POLICY)
    again.load_state_dict(state)
    assert follow(again, 5) == POLICY(np.arange(5, 10)).tolist()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr": 5}, r"state_dict\['lr'\] must be a list, .*; got 5"),
        ({"lr": None}, r"state_dict\['lr'\] must be a list, .*; got None"),
        ({"lr": ["0.1"]}, r"state_dict\['lr'\] must be a number, finite .*; got '0.1'"),
        ({"iteration": 1.5}, r"state_dict\['iteration'\] must be a whole number.*; got 1.5"),
        ({"policy": None}, r"state_dict\['policy'\] must be a list, .*; got None"),
        ({"policy": {"policy": "fixed"}}, r"state_dict\['policy'\] must be a list, "),
        ({"policy": [5]}, r"state_dict\['policy'\]: a policy must be a dictionary; got 5"),
        (
            {"policy": [{"policy": "sine"}]},
            r"state_dict\['policy'\]: policy must be one of fixed, .*; got 'sine'",
        ),
        (
            {"policy": [{"policy": ["fixed"]}]},
            r"state_dict\['policy'\]: policy must be one of .*; got \['fixed'\]",
        ),
        (
            {"policy": [{"policy": "fixed", "base_lr": -1}]},
            r"state_dict\['policy'\]: base_lr must be .*at least 0; got -1",
        ),
        (
            {
                "momentum": {
                    "policy": "cyclical_momentum",
                    "base_momentum": 0.8,
                    "max_momentum": 0.9,
                    "lr_policy": {"policy": "fixed", "base_lr": 0.1},
                }
            },
            r"state_dict\['momentum'\]: lr_policy must be a cyclical policy .*; got Fixed",
        ),
        ({"momentum": 5}, r"state_dict\['momentum'\]: a policy must be a dictionary; got 5"),
        ({"groups": 5}, r"state_dict\['groups'\] must be a list, .*; got 5"),
        ({"groups": [5]}, r"state_dict\['groups'\] must be a list of dict.*; got 5"),
        ({"groups": {}}, r"state_dict\['groups'\] must be a list, .*; got {}"),
        ({"groups": [{}]}, r"lr_mult of state_dict\['groups'\] must be a number.*; got None"),
        ({"groups": []}, r"state_dict\['groups'\] must have at least one entry.* has 0"),
        ({"groups": [{"lr_mult": 1, "lr": 0.1}] * 2}, "must have at least one entry.* has 2"),
        ({"momentum": Fixed(0.9).to_dict()}, "momentum of the saved state is Fixed.* is None"),
    ],
)
def test_what_is_wrong_in_a_state_is_named_and_nothing_changes(changes, says):
    scheduler = PolicyLR(optimizer(), POLICY)
    follow(scheduler, 3)
    before = all_of(scheduler)
    with pytest.raises((TypeError, ValueError), match=says):
        scheduler.load_state_dict(scheduler.state_dict() | changes)
    assert all_of(scheduler) == before


@pytest.mark.parametrize("bad", [5, None, [], "state"])
def test_a_state_that_is_no_dictionary_is_named(bad):
    with pytest.raises(
        ValueError, match="state_dict must be a PolicyLR's; it has no"
    ) as refused:
        PolicyLR(optimizer(), POLICY).load_state_dict(bad)
    assert str(refused.value).endswith(f"; got {bad!r}")


def test_state_of_another_policy_or_other_groups_is_refused():
    state = PolicyLR(optimizer(), POLICY).state_dict()
    other = PolicyLR(optimizer(), Triangular(0.01, 0.1, 7))
    with pytest.raises(ValueError, match="policy of the saved state"):
        other.load_state_dict(state)
    driven = PolicyLR(optimizer(), POLICY, momentum=OneCycleMomentum(0.85, 0.95, 10))
    with pytest.raises(ValueError, match="momentum of the saved state is None"):
        driven.load_state_dict(state)
    with pytest.raises(ValueError, match=r"'lr'\] must .* 2 parameter groups .*; .* has 1"):
        PolicyLR(optimizer(groups=2), POLICY).load_state_dict(state)


@pytest.mark.parametrize("bad", [0.1, None, lambda t: 0.1, [], [POLICY, 0.1], "fixed"])
def test_anything_but_a_policy_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match=r"policy(\[1\])? must be (a clr|one) "):
        PolicyLR(optimizer(), bad)
    if bad is not None:
        with pytest.raises(TypeError, match="momentum must be a clr Policy"):
            PolicyLR(optimizer(), POLICY, momentum=bad)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda sgd: PolicyLR(sgd, Triangular),
            "policy must be a clr Policy; got <class 'clr.policies.Triangular'>",
        ),
        (
            lambda sgd: PolicyLR(POLICY, sgd),
            r"optimizer must be a torch.optim.Optimizer, as in PolicyLR\(optimizer, policy\); "
            r"got Triangular2\(",
        ),
        (
            lambda sgd: PolicyLR(sgd, OneCycleMomentum(0.8, 0.9, 10), momentum=POLICY),
            r"policy must be a policy of the learning rate; got OneCycleMomentum\(.*, a policy "
            r"of the momentum: PolicyLR\(optimizer, policy, momentum=...\)",
        ),
        (lambda sgd: PolicyLR(sgd, None), "policy must be a clr Policy; got None"),
        (
            lambda sgd: PolicyLR(sgd, sgd),
            "policy must be a clr Policy; got a value of type SGD",
        ),
    ],
)
def test_misuse_is_answered_with_what_to_write(make, says):
    with pytest.raises(TypeError, match=says):
        make(optimizer(momentum=0.5))


@pytest.mark.parametrize("loss", [0.35, 2.0, torch.tensor(0.35), float("nan")])
def test_a_step_takes_no_loss(loss):
    scheduler = PolicyLR(optimizer(), POLICY)
    with pytest.raises(TypeError, match=r"PolicyLR takes no loss: call scheduler.step\(\)"):
        scheduler.step(loss)
    assert scheduler.last_epoch == 0
    with pytest.raises(ValueError, match="epoch must be a whole number, at least 0; got -3"):
        scheduler.step(-3)


@pytest.mark.parametrize("bad", [-2, 1.5, "3"])
def test_a_bad_last_epoch_is_named(bad):
    with pytest.raises((TypeError, ValueError), match="last_epoch must be a .*whole number"):
        PolicyLR(optimizer(), POLICY, last_epoch=bad)


def test_a_state_that_is_not_one_is_refused():
    theirs = ExponentialLR(optimizer(), 0.9).state_dict()
    with pytest.raises(
        ValueError, match="state_dict must be a PolicyLR's; it has no iteration"
    ):
        PolicyLR(optimizer(), POLICY).load_state_dict(theirs)


def test_it_goes_on_without_the_private_parts_of_a_new_torch(monkeypatch):
    """Those that torch 2.4 to 2.7 lack."""
    scheduler = PolicyLR(optimizer(), POLICY)
    follow(scheduler, 5)
    state = scheduler.state_dict()
    for name in ("_update_lr", "_initial_step"):
        monkeypatch.delattr(torch.optim.lr_scheduler.LRScheduler, name, raising=False)
    monkeypatch.setattr(torch.optim.lr_scheduler.LRScheduler, "__init__", _old_init)
    again = PolicyLR(optimizer(), POLICY)
    again.load_state_dict(state)
    at_once = PolicyLR(optimizer(), POLICY, last_epoch=4)
    for each in (again, at_once):
        assert each.get_last_lr() == [POLICY(5)] == [each.optimizer.param_groups[0]["lr"]]


def _old_init(self, optimizer, last_epoch=-1):
    """The start of a scheduler, without what it sets beside the first rate."""
    self.optimizer, self.last_epoch, self._step_count = optimizer, last_epoch + 1, 1
    for group, lr in zip(optimizer.param_groups, self.get_lr(), strict=True):
        group["lr"] = lr


def test_the_object_itself_can_be_pickled_and_copied():
    scheduler = PolicyLR(optimizer(), POLICY)
    follow(scheduler, 3)
    for again in (pickle.loads(pickle.dumps(scheduler)), copy.deepcopy(scheduler)):
        assert follow(again, 5) == POLICY(np.arange(3, 8)).tolist()


def test_a_rate_that_is_a_tensor_stays_one():
    adam = optimizer(torch.optim.Adam, lr=torch.tensor(0.5))
    rate = adam.param_groups[0]["lr"]
    scheduler = PolicyLR(adam, POLICY)
    follow(scheduler, 3)
    assert adam.param_groups[0]["lr"] is rate and rate == torch.tensor(POLICY(3))
    again = PolicyLR(optimizer(torch.optim.Adam, lr=torch.tensor(0.5)), POLICY)
    again.load_state_dict(scheduler.state_dict())
    assert again.optimizer.param_groups[0]["lr"] == rate


def test_a_beta_that_is_a_tensor_stays_one():
    beta = torch.tensor(0.9)
    adam = optimizer(torch.optim.Adam, betas=(beta, torch.tensor(0.999)))
    momentum = OneCycleMomentum(0.85, 0.95, 10)
    follow(PolicyLR(adam, POLICY, momentum=momentum), 3)
    assert adam.param_groups[0]["betas"][0] is beta and beta == torch.tensor(momentum(3))


@pytest.mark.parametrize("scheduled", [0, 3])
def test_rmsprop_may_begin_without_momentum(scheduled):
    """Three steps without momentum, under the scheduler or before it is built."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    rmsprop = torch.optim.RMSprop([weight], lr=0.1)
    scheduler = None
    expected, average, buffer = weight.detach().clone(), 0.0, 0.0
    for t in range(8):
        if t == scheduled:
            momentum = Stages(((Fixed(0.0), 3), (Fixed(0.9), 10)))
            scheduler = PolicyLR(rmsprop, Fixed(0.1), momentum=momentum, last_epoch=t - 1)
        weight.grad = 2 * weight.detach()
        rmsprop.step()
        gradient = 2 * expected  # the formula of RMSprop's documentation
        average = 0.99 * average + 0.01 * gradient**2
        direction = gradient / (average.sqrt() + 1e-8)
        buffer = 0.9 * buffer + direction if t >= 3 else 0.0
        expected = expected - 0.1 * (buffer if t >= 3 else direction)
        if scheduler is not None:
            scheduler.step()
    assert torch.allclose(weight, expected, rtol=1e-9, atol=1e-12)


# --- what breaks torch's CyclicLR and OneCycleLR -----------------------------------
# Each test takes a scheduler of ours and one of torch's. torch's is expected to fail; when it
# passes, torch has mended that bug, pytest says XPASS and the list in notebook 1 is too long.


def torchs(function, *args):
    why = "torch's own bug"
    return pytest.param(function, *args, marks=pytest.mark.xfail(strict=True, reason=why))


def cyclic(optimizer, mode="triangular2", last_epoch=-1, **kwargs):
    return CyclicLR(
        optimizer,
        0.01,
        0.1,
        7,
        mode=mode,
        cycle_momentum=False,
        last_epoch=last_epoch,
        **kwargs,
    )


def default_cyclic(optimizer):
    return CyclicLR(optimizer, 0.01, 0.1, 7)


def ours(optimizer, **kwargs):
    return PolicyLR(optimizer, POLICY, **kwargs)


def one_cycle(optimizer, steps=10, **kwargs):
    return OneCycleLR(optimizer, 0.1, steps, cycle_momentum=False, **kwargs)


def ramp(optimizer, steps=10):
    return PolicyLR(optimizer, RangeRamp(0.0, 0.1, steps))


both = pytest.mark.parametrize("make", [ours, torchs(cyclic)])


@both
def test_what_the_optimizer_had_before_plays_no_part(make):  # pytorch#21965
    used = optimizer()
    CosineAnnealingLR(used, 10)
    assert follow(make(used), 3) == pytest.approx(POLICY([0, 1, 2]).tolist())


@both
def test_cycle_5000(make):  # pytorch#52989
    scheduler = make(optimizer())
    scheduler.last_epoch = 5000 * 14 + 6
    scheduler.optimizer.step()
    scheduler.step()  # the top of cycle 5,000
    assert scheduler.get_last_lr() == [0.01]


@both
def test_a_state_can_be_loaded_twice(make):
    scheduler = make(optimizer())
    follow(scheduler, 4)
    state = scheduler.state_dict()
    for _ in range(2):
        again = make(optimizer())
        again.load_state_dict(state)
        assert follow(again, 6)[1:] == pytest.approx(POLICY(np.arange(5, 10)).tolist())


@both
def test_the_first_step_after_loading_has_the_right_rate(make):
    scheduler = make(optimizer())
    follow(scheduler, 4)
    again = make(optimizer())
    again.load_state_dict(scheduler.state_dict())
    assert follow(again, 1) == pytest.approx([POLICY(4)])


@both
def test_the_optimizers_state_may_be_loaded_before_the_scheduler_is_built(make):
    scheduler = make(optimizer())
    follow(scheduler, 4)
    again = optimizer()
    again.load_state_dict(scheduler.optimizer.state_dict())
    make(again).load_state_dict(scheduler.state_dict())
    assert again.param_groups[0]["lr"] == pytest.approx(POLICY(4))


class Halves(Policy, name="halves"):
    """A custom policy, as a user would write one."""

    def _values(self, t):
        return 0.1 * 0.5 ** (t // 4)


def custom_ours(optimizer, custom):
    return PolicyLR(optimizer, Halves() if custom else POLICY)


def custom_torch(optimizer, custom):
    return cyclic(optimizer, scale_fn=(lambda c: 0.5 ** (c - 1)) if custom else None)


@pytest.mark.parametrize("make", [custom_ours, torchs(custom_torch)])
def test_a_custom_policy_is_never_lost_silently(make):
    scheduler = make(optimizer(), True)
    follow(scheduler, 4)
    state = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(ValueError):  # "policy of the saved state is …"
        make(optimizer(), False).load_state_dict(state)


def test_a_saved_policy_that_is_not_defined_here_is_named():
    state = PolicyLR(optimizer(), Halves()).state_dict()
    PolicyLR(optimizer(), Halves()).load_state_dict(state)
    state["policy"][0]["policy"] = "thirds"
    with pytest.raises(ValueError, match="policy must be one of .*halves.*; got 'thirds'"):
        PolicyLR(optimizer(), Halves()).load_state_dict(state)


@pytest.mark.parametrize("make", [ours, cyclic, one_cycle])
def test_the_state_loads_with_weights_only(make):
    buffer = io.BytesIO()
    torch.save(make(optimizer()).state_dict(), buffer)
    buffer.seek(0)
    make(optimizer()).load_state_dict(torch.load(buffer, weights_only=True))


def longer_ours(optimizer, state, last_epoch):
    with pytest.raises(ValueError, match="policy of the saved state"):
        ramp(optimizer, 20).load_state_dict(state)
    return PolicyLR(optimizer, RangeRamp(0, 0.1, 20), last_epoch=last_epoch)


def longer_torch(optimizer, state, last_epoch):
    scheduler = one_cycle(optimizer, 20)
    scheduler.load_state_dict(state)
    return scheduler


@pytest.mark.parametrize(
    ("make", "longer"), [(ramp, longer_ours), torchs(one_cycle, longer_torch)]
)
def test_a_longer_run_than_the_saved_one(make, longer):
    scheduler = make(optimizer())
    follow(scheduler, 4)
    again = longer(optimizer(), scheduler.state_dict(), 3)
    follow(again, 16)
    assert again.last_epoch == 20


@both
def test_add_param_group_after_the_start(make):
    sgd = optimizer()
    scheduler = make(sgd)
    sgd.add_param_group({"params": [parameter()], "lr": 1.0, "lr_mult": 2.0})
    follow(scheduler, 1)
    assert [group["lr"] for group in sgd.param_groups] == [POLICY(1), 2 * POLICY(1)]


@both
def test_resume_with_last_epoch(make):
    assert follow(make(optimizer(), last_epoch=4), 2) == pytest.approx([POLICY(5), POLICY(6)])


@pytest.mark.parametrize("make", [ours, torchs(default_cyclic)])
@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.SGD])
def test_momentum_is_left_alone_unless_asked(make, cls):
    each = optimizer(cls)
    before = {k: each.param_groups[0].get(k) for k in ("momentum", "betas")}
    follow(make(each), 3)
    assert {k: each.param_groups[0].get(k) for k in ("momentum", "betas")} == before


@pytest.mark.parametrize("make", [ours, torchs(default_cyclic), torchs(one_cycle)])
def test_no_keys_are_left_behind(make):
    each = optimizer()
    before = set(each.param_groups[0])
    make(each)
    # torch's base class needs initial_lr: its SequentialLR reads it
    assert set(each.param_groups[0]) - before == {"initial_lr"}


@pytest.mark.parametrize("make", [ramp, torchs(one_cycle)])
def test_past_the_end_is_an_error(make):
    """OneCycleLR takes one step too many, to a rate of its own (pytorch#91765)."""
    scheduler = make(optimizer(), 10)
    done = 10 if make is ramp else 9  # ours has a rate at the end itself
    follow(scheduler, done)
    with pytest.raises(ValueError):
        scheduler.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda o: PolicyLR(o, Triangular(0.0, 0.1, 3, stepsize_down=8)),
        torchs(lambda o: one_cycle(o, 11)),
    ],
)
def test_the_peak_is_reached(make):
    assert max(follow(make(optimizer()), 11)) == 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda **bad: Triangular(**({"base_lr": 0.01, "max_lr": 0.1, "stepsize": 7} | bad)),
        torchs(lambda base_lr=0.01, max_lr=0.1, stepsize=7: CyclicLR(
            optimizer(), base_lr, max_lr, stepsize, cycle_momentum=False
        )),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "bad",
    [{"stepsize": -5}, {"base_lr": 0.2}, {"base_lr": -0.1}, {"max_lr": float("nan")}],
    ids=str,
)
def test_bad_settings_are_refused(make, bad):
    with pytest.raises(ValueError):
        make(**bad)


def test_what_readme_says_of_torchs_schedulers():
    used = optimizer()
    CosineAnnealingLR(used, 10)
    cyclic(used)
    assert used.param_groups[0]["lr"] == 0.5  # the rate it had, and not 0.01
    assert PolicyLR(used, POLICY).get_last_lr() == [0.01]
    longer = one_cycle(optimizer(), 20)
    longer.load_state_dict(one_cycle(optimizer(), 10).state_dict())
    follow(longer, 9)
    follow(longer, 1)
    with pytest.raises(ValueError, match="10"):
        longer.step()
    past = one_cycle(optimizer(), 10, anneal_strategy="linear")
    follow(past, 10)
    assert past.get_last_lr()[0] < 0


def test_exp_range_is_the_papers_and_not_torchs():
    paper = ExpRange(0.01, 0.1, 7, 0.9)
    theirs = follow(cyclic(optimizer(), mode="exp_range", gamma=0.9), 15)
    assert theirs[14] == pytest.approx(0.01) and paper(14) == pytest.approx(0.01 * 0.9**14)


# --- within other loops --------------------------------------------------------------


def test_an_iteration_is_an_optimizers_step_with_accumulation():
    weight = torch.nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([weight], lr=0.5)
    scheduler, rates = PolicyLR(sgd, POLICY), []
    for batch in range(12):
        (weight**2).sum().backward()
        if batch % 3 == 2:
            rates.append(sgd.param_groups[0]["lr"])
            sgd.step()
            sgd.zero_grad()
            scheduler.step()
    assert rates == POLICY([0, 1, 2, 3]).tolist()


def test_a_step_that_a_grad_scaler_skips_counts_unless_the_scheduler_skips_it_too():
    weight = torch.nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([weight], lr=0.5)
    scheduler, scaler = PolicyLR(sgd, POLICY), torch.amp.GradScaler("cpu")
    iterations = []
    for gradient in (1.0, float("inf"), 1.0):
        scaler.scale(weight.sum()).backward()
        weight.grad.fill_(gradient)
        before = scaler.get_scale()
        scaler.step(sgd)
        scaler.update()
        if scaler.get_scale() >= before:  # as the docstring of PolicyLR says
            scheduler.step()
        iterations.append(scheduler.last_epoch)
    assert iterations == [1, 1, 2]
    scheduler.step()  # without an update
    assert scheduler.last_epoch == 3 and sgd.param_groups[0]["lr"] == POLICY(3)


def test_with_a_grad_scaler():
    weight = torch.nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([weight], lr=0.5)
    scheduler, scaler = PolicyLR(sgd, POLICY), torch.amp.GradScaler("cpu")
    for t in range(20):
        assert sgd.param_groups[0]["lr"] == POLICY(t)
        sgd.zero_grad()
        scaler.scale((weight**2).sum()).backward()
        scaler.step(sgd)
        scaler.update()
        scheduler.step()
    assert 0 < weight.item() < 1


def sequence(sgd, policy_first):
    policy = PolicyLR(sgd, POLICY)
    other = LinearLR(sgd, 0.1, total_iters=5)
    return SequentialLR(sgd, [policy, other] if policy_first else [other, policy], [5])


def expected_sequence(policy_first):
    linear = [0.5 * (0.1 + 0.9 * t / 5) for t in range(5)]
    if policy_first:  # LinearLR multiplies what it finds: torch's way of starting it
        return POLICY(np.arange(5)).tolist() + linear
    return linear + POLICY(np.arange(10)).tolist()


@pytest.mark.parametrize("policy_first", [False, True])
def test_in_a_sequential_scheduler(policy_first):
    expected = expected_sequence(policy_first)
    assert follow(sequence(optimizer(), policy_first), len(expected)) == pytest.approx(expected)


@pytest.mark.parametrize("policy_first", [False, True])
@pytest.mark.parametrize("after", [3, 5, 8])
def test_a_sequential_scheduler_goes_on_from_its_state(policy_first, after):
    expected = expected_sequence(policy_first)
    scheduler = sequence(optimizer(), policy_first)
    follow(scheduler, after)
    again = sequence(optimizer(), policy_first)
    again.load_state_dict(scheduler.state_dict())
    again.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    rest = expected[after:]
    assert follow(again, len(rest)) == pytest.approx(rest)


# --- beside other schedulers -----------------------------------------------------------

BESIDE = {  # schedulers that multiply, and by what at the first iterations
    "linear": (
        lambda sgd: LinearLR(sgd, 0.1, total_iters=5),
        [0.1 + 0.18 * min(t, 5) for t in range(12)],
    ),
    "constant": (lambda sgd: ConstantLR(sgd, 0.25, total_iters=3), [0.25] * 3 + [1] * 9),
    "exponential": (lambda sgd: ExponentialLR(sgd, 0.5), [0.5**t for t in range(12)]),
    "step": (lambda sgd: StepLR(sgd, 4, 0.1), [0.1 ** (t // 4) for t in range(12)]),
}


def chain(sgd, beside, order, policy=POLICY):
    both = [PolicyLR(sgd, policy), BESIDE[beside][0](sgd)]
    return ChainedScheduler(both if order == "ours first" else both[::-1], sgd)


in_a_chain = pytest.mark.parametrize("order", ["ours first", "ours last"])


@in_a_chain
@pytest.mark.parametrize("beside", BESIDE)
def test_in_a_chain_the_rates_are_multiplied(beside, order):
    expected = POLICY(np.arange(12)) * BESIDE[beside][1]
    assert follow(chain(optimizer(), beside, order), 12) == pytest.approx(expected.tolist())


@in_a_chain
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("after", [1, 2, 7])
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_chain_goes_on_from_its_state(beside, order, after, optimizer_first):
    before = chain(optimizer(), beside, order)
    follow(before, after)
    again = chain(optimizer(), beside, order)
    pairs = [(again, before), (again.optimizer, before.optimizer)]
    for new, old in pairs[::-1] if optimizer_first else pairs:
        new.load_state_dict(json.loads(json.dumps(old.state_dict())))
    expected = (POLICY(np.arange(12)) * BESIDE[beside][1])[after:]
    assert follow(again, 12 - after) == pytest.approx(expected.tolist())


@in_a_chain
def test_a_rate_that_is_a_tensor_is_multiplied_in_a_chain(order):
    adam = optimizer(torch.optim.Adam, lr=torch.tensor(0.5))
    both = [PolicyLR(adam, POLICY), LinearLR(adam, 0.1, total_iters=5)]
    rates, rate = [], adam.param_groups[0]["lr"]
    scheduler = ChainedScheduler(both if order == "ours first" else both[::-1], adam)
    for _ in range(12):
        rates.append(rate.item())
        adam.step()
        scheduler.step()
    expected = POLICY(np.arange(12)) * BESIDE["linear"][1]
    assert rates == pytest.approx(expected.tolist(), rel=1e-5)
    assert adam.param_groups[0]["lr"] is rate


@pytest.mark.parametrize(
    "make",
    [
        lambda sgd: LinearLR(sgd, 0.1, total_iters=5),  # its factor at 0 is overwritten
        lambda sgd: LambdaLR(sgd, lambda t: 0.2),  # it sets its own rate and multiplies none
    ],
)
@in_a_chain
def test_a_chain_that_cannot_multiply_says_at_once_what_to_use(make, order):
    sgd = optimizer()
    other = make(sgd)
    ours = PolicyLR(sgd, POLICY)
    scheduler = ChainedScheduler([ours, other] if order == "ours first" else [other, ours], sgd)
    with pytest.raises(
        ValueError, match="lr of parameter group 0 .*Stages or SequentialLR.*lr_m"
    ):
        follow(scheduler, 2)


def test_a_refused_step_beside_another_scheduler_changes_nothing():
    sgd = optimizer()
    scheduler = PolicyLR(sgd, POLICY)
    follow(scheduler, 3)
    sgd.param_groups[0]["lr"] = 1.0
    before = all_of(scheduler)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"must not be raised above 0.0485.*; got 1\."):
            scheduler.step()
        assert all_of(scheduler) == before
    sgd.param_groups[0]["lr"] = POLICY(3)
    assert follow(scheduler, 3) == POLICY([3, 4, 5]).tolist()


@pytest.mark.parametrize("resumed", [False, True])
def test_with_reduce_on_plateau_on_top(resumed):
    sgd = optimizer(groups=2)
    scheduler, plateau = PolicyLR(sgd, POLICY), ReduceLROnPlateau(sgd, factor=0.5, patience=0)
    follow(scheduler, 4)
    for loss in (1.0, 1.0):  # the second is no better: reduced
        plateau.step(loss)
    if resumed:
        state = json.loads(json.dumps(scheduler.state_dict()))
        sgd = optimizer(groups=2)
        scheduler = PolicyLR(sgd, POLICY)
        scheduler.load_state_dict(state)
    expected = 0.5 * POLICY(np.arange(4, 24))
    assert follow(scheduler, 20) == pytest.approx(expected.tolist())
    assert sgd.param_groups[1]["lr"] == sgd.param_groups[0]["lr"]


def test_a_warm_up_of_0_steps_in_a_sequential_scheduler():
    sgd = optimizer()
    both = [LinearLR(sgd, 0.1, total_iters=0), PolicyLR(sgd, POLICY)]
    assert follow(SequentialLR(sgd, both, [0]), 9) == POLICY(np.arange(9)).tolist()


def test_after_a_sequential_schedulers_milestone_nothing_is_multiplied():
    sgd = optimizer()
    both = [ConstantLR(sgd, 0.1, total_iters=50), PolicyLR(sgd, POLICY)]
    rates = follow(SequentialLR(sgd, both, [5]), 12)
    assert rates == pytest.approx([0.05] * 5 + POLICY(np.arange(7)).tolist())


def test_stages_have_counters_of_their_own():
    policy = Stages(((POLICY, 20), (Fixed(0.5), 5), (POLICY, 20)))
    rates = follow(PolicyLR(optimizer(), policy), 45)
    assert rates[:20] == rates[25:] == POLICY(np.arange(20)).tolist()
