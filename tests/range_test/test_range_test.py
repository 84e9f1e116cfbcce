import contextlib
import copy
import hashlib
import math
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from clr.policies import ExponentialRangeRamp, RangeRamp, Triangular
from clr.range_test import lr_range_test, restored
from clr.scheduler import PolicyLR

CROSS = nn.functional.cross_entropy


def blobs(n=64, seed=0):
    """Two classes that a line tells apart: (inputs, labels)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    return torch.randn(n, 4, generator=generator) + 3 * labels[:, None], labels


def loader(n=64, batch=16, **kwargs):
    data = torch.utils.data.TensorDataset(*blobs(n))
    return torch.utils.data.DataLoader(data, batch, shuffle=True, **kwargs)


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))


def digest(*things) -> str:
    """A hash of everything a range test could leave behind."""
    model, optimizer, scaler, batches = things
    states = [
        {k: v.tolist() for k, v in model.state_dict().items()},
        [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        [p.requires_grad for p in model.parameters()],
        [module.training for module in model.modules()],
        str(optimizer.state_dict()),
        None if scaler is None else str(scaler.state_dict()),
        random.getstate(),
        [str(part) for part in np.random.get_state()],
        torch.get_rng_state().tolist(),
        batches.generator and batches.generator.get_state().tolist(),
    ]
    return hashlib.sha256(pickle.dumps(states)).hexdigest()


class Stop(Exception):
    pass


@settings(max_examples=200, deadline=None)
@given(
    steps_before=st.integers(0, 3),
    iterations=st.integers(2, 12),
    event=st.sampled_from([None, Stop, KeyboardInterrupt, "nan"]),
    when=st.integers(0, 14),
    where=st.sampled_from(["loss", "evaluate", "metric"]),
    optimizer=st.sampled_from([torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop]),
    scaled=st.booleans(),
    frozen=st.booleans(),
    training=st.booleans(),
    seeds=st.sampled_from([None, [3], [0, 1]]),
    accumulate=st.integers(1, 2),
    own_generator=st.booleans(),
)
def test_it_leaves_nothing_behind(
    steps_before, iterations, event, when, where, optimizer, scaled, frozen, training, seeds,
    accumulate, own_generator,
):  # fmt: skip
    model = network()
    optimizer = optimizer(model.parameters(), lr=0.1)
    batches = loader(generator=torch.Generator().manual_seed(1) if own_generator else None)
    scaler = torch.amp.GradScaler("cpu") if scaled else None
    for inputs, labels in list(batches)[:steps_before]:
        optimizer.zero_grad()
        loss = CROSS(model(inputs), labels)
        (loss if scaler is None else scaler.scale(loss)).backward()
        optimizer.step() if scaler is None else (scaler.step(optimizer), scaler.update())
    model.train(training)
    model[0].requires_grad_(not frozen)
    before, calls = digest(model, optimizer, scaler, batches), []

    def at(place, value):
        calls.append(place)
        if place == where and calls.count(place) == when + 1:
            if event == "nan":
                return value * math.nan
            if event is not None:
                raise event
        return value

    with contextlib.suppress(Stop, KeyboardInterrupt):
        lr_range_test(
            model, batches, optimizer=optimizer, policy=RangeRamp(0.0, 1.0, iterations),
            loss=lambda *x: at("loss", CROSS(*x)), metric=lambda *x: at("metric", 0.5),
            evaluate=lambda m: at("evaluate", 0.5), scaler=scaler, seeds=seeds,
            accumulate=accumulate, reset=lambda m: m[0].reset_parameters(),
        )  # fmt: skip
    assert calls and digest(model, optimizer, scaler, batches) == before


def run(model=None, batches=None, iterations=40, top=1.0, **kwargs):
    torch.manual_seed(0)
    model = model or nn.Linear(4, 2)
    optimizer = kwargs.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.1)
    policy = kwargs.pop("policy", RangeRamp(0.0, top, iterations))
    batches = loader() if batches is None else batches
    return lr_range_test(
        model,
        batches,
        loss=kwargs.pop("loss", CROSS),
        optimizer=optimizer,
        policy=policy,
        **kwargs,
    )


def test_the_curve_is_that_of_the_plain_loop():
    torch.manual_seed(0)
    model, images = nn.Linear(4, 2), [blobs(16, seed) for seed in range(40)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    twin = copy.deepcopy(model)
    test = run(model, images, optimizer=optimizer, every=4, evaluate=lambda m: m.bias.sum())
    plain = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    scheduler, losses, shares = PolicyLR(plain, RangeRamp(0.0, 1.0, 40)), [], []
    for t, (inputs, labels) in enumerate(images):
        outputs = twin(inputs)
        loss = CROSS(outputs, labels)
        plain.zero_grad()
        loss.backward()
        plain.step()
        scheduler.step()
        losses.append(loss.item())
        shares.append((outputs.argmax(1) == labels).float().mean().item())
        if t % 4 == 3:
            row = test.curves[0].iloc[(t + 1) // 4]
            assert row["iteration"] == t + 1 and row["lr"] == plain.param_groups[0]["lr"]
            assert row["train_loss"] == pytest.approx(np.mean(losses[-4:]))
            assert row["train_accuracy"] == pytest.approx(np.mean(shares[-4:]))
            assert row["test_accuracy"] == pytest.approx(twin.bias.sum().item())
    assert test.ended == ["finished"] and test.watched == "test_accuracy"


def test_it_trains_and_tests_in_their_modes():
    model, seen = network().eval(), []

    def evaluate(m):
        seen.append(("test", m.training, m[1].training))
        return 0.5

    def loss(*x):
        seen.append(("train", model.training, model[1].training))
        return CROSS(*x)

    run(model, evaluate=evaluate, loss=loss, iterations=4, every=1)
    assert set(seen) == {("test", False, False), ("train", True, True)} and not model.training


def test_restored_brings_gradients_back_that_are_changed_in_place():
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    with restored(model):
        model(torch.ones(1, 2)).sum().backward()
        assert model.weight.grad.tolist() == [[1, 1]]  # they begin as None
        model.zero_grad(set_to_none=False)
    assert model.weight.grad.tolist() == [[1, 1]]


class Stateful(nn.Module):
    """A layer with what state_dict does not hold, and with buffers that are hard to refill."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 2)
        self.ready, self.norms, self.total = False, [], torch.zeros(())
        self.register_buffer("mask", torch.ones(1).expand(2))
        self.register_buffer("seen", torch.tensor([]))

    def forward(self, x):
        self.ready = True
        self.norms.append(float(x.norm()))
        self.total += 1
        self.seen.resize_(4).copy_(x.detach().amax(0))
        return self.line(x) * self.mask

    def state(self):
        return self.ready, self.norms, float(self.total), self.mask.tolist(), self.seen.tolist()


@pytest.mark.parametrize("event", [None, KeyboardInterrupt])
def test_what_no_state_dict_holds_is_restored(event):
    model, calls = Stateful(), []
    weights, state = copy.deepcopy(list(model.parameters())), model.state()

    def metric(*_):
        calls.append(1)
        if event and len(calls) > 3:
            raise event
        return 0.5

    loss = Centred()
    with contextlib.suppress(KeyboardInterrupt):
        run(model, iterations=5, metric=metric, loss=loss)
    assert len(calls) >= 4 and model.state() == state == (False, [], 0.0, [1.0, 1.0], [])
    assert list(map(torch.equal, weights, model.parameters())) == [True, True]
    assert loss.centre.tolist() == [0.0, 0.0]


class Centred(nn.Module):
    """A loss that keeps a mean of the outputs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(2))

    def forward(self, outputs, targets):
        self.centre.lerp_(outputs.detach().mean(0), 0.1)
        return CROSS(outputs - self.centre, targets)


def test_the_rest_is_restored_where_a_part_cannot_be():
    class State(dict):
        def clear(self):
            raise RuntimeError("refused")

    model = nn.Linear(4, 2)
    model.own = State()
    weight = model.weight.detach().clone()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(RuntimeError, match="refused"):
        run(model, optimizer=sgd, iterations=5)
    assert torch.equal(model.weight, weight) and not sgd.state
    assert sgd.param_groups[0]["lr"] == 0.1


class Wrapping(torch.optim.Optimizer):
    """As timm's Lookahead: it has groups of another optimizer, and no state of its own."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, {})
        self.inner, self.param_groups, self.calls = inner, inner.param_groups, 0

    def step(self, closure=None):
        self.calls += 1
        self.inner.step()
        for group in self.param_groups:
            for p in group["params"]:
                self.inner.state[p]["slow"] = {"weights": p.detach().clone()}


def test_an_optimizer_that_wraps_another_is_restored():
    model = nn.Linear(4, 2)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = Wrapping(sgd)
    run(model, optimizer=optimizer, iterations=5)
    assert not sgd.state and optimizer.calls == 0
    CROSS(model(blobs()[0]), blobs()[1]).backward()
    optimizer.step()
    before = copy.deepcopy(sgd.state_dict())
    run(model, optimizer=optimizer, iterations=5)
    assert str(sgd.state_dict()) == str(before) and optimizer.calls == 1


def test_a_scaler_is_ready_after_ctrl_c_between_two_of_its_calls():
    class Stopping(torch.optim.SGD):
        left = 3

        def step(self, closure=None):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return super().step(closure)

    model, scaler = nn.Linear(4, 2), torch.amp.GradScaler("cpu")
    optimizer = Stopping(model.parameters(), lr=0.1)
    with pytest.raises(KeyboardInterrupt):
        run(model, optimizer=optimizer, scaler=scaler, clip_grad_norm=1.0)
    inputs, labels = blobs(16)
    scaler.scale(CROSS(model(inputs), labels)).backward()
    scaler.unscale_(optimizer)  # torch refuses a second time


@pytest.mark.parametrize(
    "reset",
    [lambda m: m.__init__(4, 2), lambda m: setattr(m, "bias", nn.Parameter(torch.ones(2)))],
)
def test_a_reset_that_replaces_weights_is_refused_and_undone(reset):
    model = nn.Linear(4, 2)
    weights = list(model.parameters())
    with pytest.raises(ValueError, match="reset must change the weights in place"):
        run(model, reset=reset)
    assert all(map(lambda a, b: a is b, weights, model.parameters()))


def test_micro_batches_are_one_step():
    whole = run(batches=[blobs(32)], iterations=6, every=1)
    inputs, labels = blobs(32)
    halves = run(
        batches=[(inputs[:16], labels[:16]), (inputs[16:], labels[16:])],
        iterations=6, every=1, accumulate=2,
    )  # fmt: skip
    for column in ("train_loss", "train_accuracy"):
        assert halves.curves[0][column].tolist() == pytest.approx(
            whole.curves[0][column].tolist(), nan_ok=True, rel=1e-5
        )


def test_a_tensor_that_several_groups_have_is_one_again_afterwards():
    model, tensor = nn.Linear(4, 2), torch.tensor(0.1)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr_mult": 0.0}]
    optimizer = torch.optim.Adam(groups, lr=tensor)
    seen = rates_in_steps(optimizer, model)
    assert seen == [[r, 0.0] for r in (0.0, 0.25, 0.5, 0.75)]
    assert all(group["lr"] is tensor for group in optimizer.param_groups) and tensor == 0.1


def test_groups_keep_their_ratio_and_a_tensor_stays_one():
    model, seen = nn.Linear(4, 2), []
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": torch.tensor(0.4)}]
    optimizer = torch.optim.Adam(groups, lr=torch.tensor(0.1), foreach=False)

    def loss(*x):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        return CROSS(*x)

    run(model, optimizer=optimizer, loss=loss, iterations=4)
    assert seen == [pytest.approx([r, 4 * r]) for r in (0.0, 0.25, 0.5, 0.75)]
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.4])


def rates_in_steps(optimizer, model, **kwargs):
    """The rates of all groups at each of four steps of a ramp from 0 to 1."""
    seen = []

    def loss(*x):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        return CROSS(*x)

    run(model, optimizer=optimizer, loss=loss, iterations=4, **kwargs)
    return seen


def two_groups(model, first, second):
    groups = [{"params": [model.weight], "lr": first}, {"params": [model.bias], "lr": second}]
    return torch.optim.SGD(groups, lr=0.1)


def test_a_frozen_group_stays_frozen_and_the_next_one_follows_the_policy():
    model = nn.Linear(4, 2)
    seen = rates_in_steps(two_groups(model, 0.0, 0.1), model)
    assert seen == [pytest.approx([0.0, r]) for r in (0.0, 0.25, 0.5, 0.75)]
    seen = rates_in_steps(two_groups(model, 0.1, 0.0), model)
    assert seen == [pytest.approx([r, 0.0]) for r in (0.0, 0.25, 0.5, 0.75)]


def test_at_the_start_of_a_warm_up_the_groups_keep_the_ratio_of_their_initial_rates():
    model = nn.Linear(4, 2)
    optimizer = two_groups(model, 0.1, 0.4)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, epoch / 10))
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    seen = rates_in_steps(optimizer, model)
    assert seen == [pytest.approx([r, 4 * r]) for r in (0.0, 0.25, 0.5, 0.75)]


def test_where_all_rates_are_0_lr_mult_gives_the_ratio():
    model = nn.Linear(4, 2)
    with pytest.warns(UserWarning, match="lr_mult"):
        assert rates_in_steps(two_groups(model, 0.0, 0.0), model)[2] == [0.5, 0.5]
    optimizer = two_groups(model, 0.0, 0.0)
    for group, multiplier in zip(optimizer.param_groups, (1.0, 3.0), strict=True):
        group["lr_mult"] = multiplier
    assert rates_in_steps(optimizer, model)[2] == [0.5, 1.5]
    one = torch.optim.SGD(model.parameters(), lr=0.0)
    assert rates_in_steps(one, model)[2] == [0.5]


def test_autocast_may_be_a_context_that_can_be_entered_again():
    def dtypes(autocast):
        seen = set()
        run(autocast=autocast, loss=lambda y, x: seen.add(y.dtype) or CROSS(y.float(), x))
        return seen

    assert dtypes(torch.autocast("cpu", torch.bfloat16)) == {torch.bfloat16}
    assert dtypes(contextlib.nullcontext()) == {torch.float32}


def test_autocast_and_scaler():
    contexts, scaler = [], torch.amp.GradScaler("cpu", init_scale=8.0)

    def autocast():
        contexts.append(1)
        return torch.autocast("cpu", torch.bfloat16)

    test = run(autocast=autocast, scaler=scaler, iterations=5, top=0.1)
    assert len(contexts) == 5 and test.ended == ["finished"]
    assert test.curves[0]["train_loss"].iloc[-1] < test.curves[0]["train_loss"].iloc[1]


def test_seeds_draw_weights_anew_and_repeat():
    kwargs = {"seeds": [0, 1, 0], "reset": lambda m: m.reset_parameters(), "iterations": 20}
    curves = run(**kwargs).curves
    assert curves[0].equals(curves[2]) and not curves[0].equals(curves[1])
    bounds = run(**kwargs).bounds()
    assert len(bounds.seeds) == 3


def test_seeds_set_every_generator():
    drawn = []
    for before in (9, 10):  # the state before a range test does not matter
        random.seed(before), np.random.seed(before), torch.manual_seed(before)
        model = nn.Linear(4, 2)
        lr_range_test(
            model,
            [blobs(16)],
            loss=CROSS,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            policy=RangeRamp(0.0, 0.1, 4),
            seeds=[3, 4],
            reset=lambda m: drawn.append(
                (random.random(), np.random.rand(), torch.rand(1).item())
            ),
        )
    assert drawn[:2] == drawn[2:] and all(a != b for a, b in zip(*drawn[:2], strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_it_stops_where_the_loss_is_not_finite(value):
    calls = []

    def loss(*x):
        calls.append(1)
        return CROSS(*x) * (value if len(calls) == 7 else 1.0)

    test = run(loss=loss, every=5)
    assert test.ended == ["diverged at iteration 7"] and len(calls) == 7
    assert test.curves[0]["iteration"].tolist() == [0, 5, 7]


def test_nan_from_the_start_gives_no_bounds_and_says_so():
    bounds = run(loss=lambda *x: CROSS(*x) * math.nan).bounds()
    assert (bounds.base_lr, bounds.max_lr) == (None, None)
    assert bounds.why.endswith("it diverged at iteration 1")
    assert "not finite at iteration 1: look for NaN and infinite values" in bounds.caveat


def test_it_stops_when_the_loss_has_grown():
    rows = torch.randn(64, 4)
    regression = {
        "loss": lambda y, x: (y - x[:, :2]).square().mean(),
        "metric": lambda y, x: 0.0,
    }
    test = run(batches=[(rows, rows)], top=50.0, iterations=100, every=1, **regression)
    assert test.ended[0].startswith("diverged at iteration")
    losses = test.curves[0]["train_loss"]
    assert losses.iloc[-1] > 4 * losses.iloc[1] >= losses.iloc[-2]
    on = run(batches=[(rows, rows)], top=3.0, iterations=100, divergence=math.inf, **regression)
    assert on.ended == ["finished"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("loss", torch.nn.CrossEntropyLoss),
        ("optimizer", torch.optim.SGD),
        ("evaluate", [1.0]),
        ("metric", "accuracy"),
        ("reset", torch.nn.Linear),
        ("loss", None),
        ("seeds", 5),
        ("scaler", 2.0**16),
        ("batches", loader().dataset),
        ("autocast", None),
        ("autocast", "cpu"),
        ("progress", "no"),
        ("restore_to", True),
        ("restore_to", torch.float16),
    ],
)
def test_what_is_not_of_the_right_kind_is_named(argument, value):
    with pytest.raises(TypeError, match=f"{argument} must be .*; got "):
        run(**{argument: value})


def test_a_class_instead_of_its_object_says_what_to_do():
    with pytest.raises(TypeError, match="loss must be .*make an object of it first"):
        run(loss=torch.nn.CrossEntropyLoss)


@pytest.mark.parametrize("device", ["meta", "CPU", "cuda:77", torch.device("meta")])
def test_a_device_on_which_nothing_can_be_kept_is_refused_before_anything_changes(device):
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="restore_to must be a device of this machine.*; got"):
        run(model=model, optimizer=sgd, restore_to=device)
    assert sgd.param_groups[0]["lr"] == 0.1 and not sgd.state
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="batches must hold at least one batch"):
        run(batches=[])
    with pytest.raises(ValueError, match="pass 2 has none .*give a list of its batches"):
        run(batches=iter([blobs()]))
    sgd, ramp = torch.optim.SGD(network().parameters(), lr=0.1), RangeRamp(0.0, 0.1, 9)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module; got None"):
        lr_range_test(None, loader(), loss=CROSS, optimizer=sgd, policy=ramp)
    with pytest.raises(ValueError, match="policy must have at least 2"):
        run(iterations=1)
    with pytest.raises(ValueError, match="base_lr must not be above max_lr"):
        run(policy=RangeRamp(1.0, 0.1, 10))
    with pytest.raises(ValueError, match="policy must .* not start again .*past_end=cycle"):
        run(policy=RangeRamp(0.0, 0.1, 10, past_end="cycle"))
    with pytest.raises(
        ValueError, match="optimizer must hold only the model's parameters; 2 of"
    ):
        run(optimizer=torch.optim.SGD(nn.Linear(4, 2).parameters(), lr=0.1))
    with pytest.raises(TypeError, match="policy must be a RangeRamp or None; got Triangular"):
        run(policy=Triangular(0.1, 0.2, 5))
    with pytest.raises(ValueError, match="seeds must hold at least one seed"):
        run(seeds=[])
    with pytest.raises(ValueError, match="seeds must be a whole number, .* at most 4294967295"):
        run(seeds=[2**40])
    with pytest.raises(ValueError, match="accumulate must be"):
        run(accumulate=0)
    with pytest.raises(ValueError, match="every must be"):
        run(every=0)
    with pytest.raises(ValueError, match="divergence must be at least 1"):
        run(divergence=0.5)
    with pytest.raises(ValueError, match="clip_grad_norm must be finite and above 0; got inf"):
        run(clip_grad_norm=math.inf)
    with pytest.raises(ValueError, match="model must have parameters; ReLU has none"):
        run(nn.ReLU(), optimizer=sgd)


def test_a_function_that_makes_batches_is_no_loader():
    with pytest.raises(TypeError, match="batches must be something.*; got <function"):
        run(batches=lambda: blobs(16))


@pytest.mark.parametrize("value", [blobs(16), blobs(16)[0], {"x": blobs(16)[0]}])
def test_one_batch_is_no_loader(value):
    with pytest.raises(TypeError, match="batches must yield pairs"):
        run(batches=value)


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("loss", nn.CrossEntropyLoss(reduction="none"), r"\(reduction='mean'\); got .*\(16,\)"),
        ("loss", lambda y, x: None, "loss must return a tensor of one number.*; got None"),
        ("loss", lambda y, x: CROSS(y, x).item(), "loss must return a tensor of one number"),
        ("metric", lambda y, x: None, "metric must return one number; got None"),
        ("metric", lambda y, x: y, r"metric must return one number; got .*\(16, 2\)"),
        ("evaluate", lambda m: None, "evaluate must return one number; got None"),
    ],
)
def test_what_functions_return_is_checked(argument, value, says):
    with pytest.raises((TypeError, ValueError), match=says):
        run(**{argument: value})


def test_exponential_ramps():
    test = run(policy=ExponentialRangeRamp(0.001, 1.0, 30), every=10)
    assert test.curves[0]["lr"].tolist() == pytest.approx([0.001, 0.01, 0.1, 1.0])


def test_a_negative_loss_is_no_divergence():
    assert run(loss=lambda *x: CROSS(*x) - 10, every=2).ended == ["finished"]


def test_a_loaders_own_generator_draws_from_the_seed_and_is_put_back():
    generator = torch.Generator().manual_seed(5)
    data = TensorDataset(torch.randn(40, 4), torch.randint(2, (40,)))
    sampler = BatchSampler(RandomSampler(data, generator=generator), 8, drop_last=False)
    before = generator.get_state()
    test = run(batches=DataLoader(data, batch_sampler=sampler), seeds=[0, 1, 0], every=1)
    assert torch.equal(generator.get_state(), before)
    first, second, third = test.curves
    assert first.equals(third) and not first.equals(second)
