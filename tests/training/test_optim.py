"""Each solver against Caffe's published update, written out in numpy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clr.policies import ExpRange
from clr.scheduler import PolicyLR
from clr.training import optim


def caffe(name, w, gradients, rates, momentum, decay):
    h, h2, m, v = (np.zeros_like(w) for _ in range(4))
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        g = gradient + decay * w
        if name == "sgd":
            h = momentum * h + rate * g
            update = h
        elif name == "nesterov":
            before, h = h, momentum * h + rate * g
            update = (1 + momentum) * h - momentum * before
        elif name == "adagrad":
            h = h + g * g
            update = rate * g / (np.sqrt(h) + 1e-8)
        elif name == "rmsprop":
            h = 0.99 * h + 0.01 * g * g
            update = rate * g / (np.sqrt(h) + 1e-8)
        elif name == "adadelta":
            h = momentum * h + (1 - momentum) * g * g
            step = g * np.sqrt((h2 + 1e-8) / (h + 1e-8))
            h2 = momentum * h2 + (1 - momentum) * step * step
            update = rate * step
        elif name == "adam":
            m = momentum * m + (1 - momentum) * g
            v = 0.999 * v + 0.001 * g * g
            correction = np.sqrt(1 - 0.999**t) / (1 - momentum**t)
            update = rate * correction * m / (np.sqrt(v) + 1e-8)
        elif name == "torch_sgd":
            h = momentum * h + g
            update = rate * h
        elif name == "adamw":
            m = momentum * m + (1 - momentum) * gradient
            v = 0.95 * v + 0.05 * gradient * gradient
            mean, root = m / (1 - momentum**t), np.sqrt(v / (1 - 0.95**t))
            update = rate * (mean / (root + 1e-8) + decay * w)
        w = w - update
    return w


@pytest.mark.parametrize("name", list(optim.NAMES))
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), momentum=st.floats(0.1, 0.99), decay=st.floats(0, 0.5))
def test_every_solver_is_caffes_or_pytorchs(name, seed, momentum, decay):
    random = np.random.default_rng(seed)
    policy, n = ExpRange(0.001, 0.1, 3, 0.95), 12
    start, gradients = random.normal(size=(2, 3)), random.normal(size=(n, 2, 3))
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    groups = [{"params": [weight], "weight_decay": decay, "lr_mult": 2.0}]
    optimizer = optim.build(name, groups, momentum)
    scheduler = PolicyLR(optimizer, policy)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        scheduler.step()
    expected = caffe(name, start, gradients, 2.0 * policy(np.arange(n)), momentum, decay)
    assert weight.detach().numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_sgd_is_pytorchs_at_a_constant_rate_and_only_then():
    def run(name, rates):
        weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = optim.build(name, [{"params": [weight], "weight_decay": 0.1}], 0.9)
        for i, rate in enumerate(rates):
            optimizer.param_groups[0]["lr"] = rate
            weight.grad = torch.full((3,), 0.5 + i, dtype=torch.float64)
            optimizer.step()
        return weight.detach()

    assert torch.allclose(run("sgd", [0.1] * 6), run("torch_sgd", [0.1] * 6), rtol=1e-12)
    assert not torch.allclose(run("sgd", [0.1, 0.2] * 3), run("torch_sgd", [0.1, 0.2] * 3))


@pytest.mark.parametrize("name", list(optim.NAMES))
def test_state_survives_saving(name, tmp_path):
    def make():
        weight = torch.nn.Parameter(torch.ones(4))
        return weight, optim.build(name, [{"params": [weight], "weight_decay": 0.0}], 0.9)

    def step(weight, optimizer, i):
        optimizer.param_groups[0]["lr"] = 0.01
        weight.grad = torch.arange(4.0) + i
        optimizer.step()

    weight, optimizer = make()
    for i in range(3):
        step(weight, optimizer, i)
    torch.save([weight.data, optimizer.state_dict()], tmp_path / "state")
    again, other = make()
    saved, state = torch.load(tmp_path / "state", weights_only=True)
    again.data = saved
    other.load_state_dict(state)
    step(weight, optimizer, 3), step(again, other, 3)
    assert torch.equal(weight, again)


def test_a_parameter_without_gradient_is_left_alone():
    used, unused = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimizer = optim.SGD([used, unused], lr=0.1, momentum=0.9)
    loss = optimizer.step(lambda: (used * 2).sum().backward() or 7)
    assert loss == 7 and used.item() == pytest.approx(0.8) and unused.item() == 1.0
