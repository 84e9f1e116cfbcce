"""What is read off runs of real models: noise, the side that is better, a fall, the loss."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clr.policies import RangeRamp
from clr.range_test import RangeTest, lr_range_test, restored

F = nn.functional


def blobs(n=1024, scale=1.0, seed=0):
    """Two classes that overlap a little: (inputs, labels)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    return scale * (torch.randn(n, 4, generator=generator) + labels[:, None]), labels


def run(model, data, ramp, loss=F.cross_entropy, seed=0, batch=32, **kwargs):
    torch.manual_seed(seed)
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    kwargs.setdefault("optimizer", torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    loader = DataLoader(TensorDataset(*data), batch, shuffle=True)
    return lr_range_test(model, loader, loss=loss, policy=ramp, **kwargs)


def network(outputs=2, inputs=4):
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


@pytest.mark.parametrize("batch", [32, 256])
def test_labels_that_cannot_be_learned_give_no_bounds(batch):
    generator = torch.Generator().manual_seed(0)
    data = (
        torch.randn(1024, 4, generator=generator),
        torch.randint(2, (1024,), generator=generator),
    )
    tests = [
        run(network(), data, RangeRamp(0.0, 0.001, 100), seed=seed, batch=batch)
        for seed in range(6)
    ]
    for test in [*tests, RangeTest([t.curves[0] for t in tests], [t.ended[0] for t in tests])]:
        bounds = test.bounds()
        assert (bounds.base_lr, bounds.max_lr) == (None, None)
        assert bounds.why.startswith("no rise above the noise")
        assert "no rise above the noise" in str(bounds).lower()


@pytest.mark.parametrize("metric", ["accuracy", "loss", "test"])
def test_rates_at_which_nothing_can_learn_give_no_bounds(metric):
    data = blobs()
    kwargs = {"metric": None} if metric == "loss" else {}
    if metric == "test":
        kwargs["evaluate"] = lambda m: (m(data[0]).argmax(1) == data[1]).float().mean()
    for seed in range(5):
        test = run(network(), data, RangeRamp(0.0, 1e-9, 150), seed=seed, **kwargs)
        assert (test.bounds().base_lr, test.bounds().max_lr) == (None, None)


def minus_square(outputs, targets):
    return -(outputs - targets).square().mean()


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_unit_of_the_curve_does_not_matter(scale):
    x, _ = blobs()
    y = scale * x.sum(1, keepdim=True)
    ramp = RangeRamp(0.0, 0.3, 150)
    # targets and outputs with a unit: the loss and the metric have its square
    loss = lambda outputs, targets: F.mse_loss(outputs, targets / scale)  # noqa: E731
    metric = lambda outputs, targets: scale**2 * minus_square(outputs, targets / scale)  # noqa: E731
    bounds = [
        run(nn.Linear(4, 1), (x, y), ramp, loss, metric=metric).bounds(),
        run(nn.Linear(4, 1), (x, y), ramp, loss, metric=None).bounds(),
    ]
    for each in bounds:
        assert 0 < each.base_lr < each.max_lr
    reference = run(
        nn.Linear(4, 1), (x, y), ramp, loss, metric=lambda o, t: minus_square(o, t / scale)
    )
    assert bounds[0].max_lr == pytest.approx(reference.bounds().max_lr, rel=0.05)


def measured(model, data, ramp, **kwargs):
    """Range tests that evaluate accuracy, error rate and loss on the same runs."""
    measures = {
        "accuracy": lambda m: (m(data[0]).argmax(1) == data[1]).float().mean(),
        "error": lambda m: (m(data[0]).argmax(1) != data[1]).float().mean(),
        "loss": lambda m: F.cross_entropy(m(data[0]), data[1]),
    }
    return {n: run(model, data, ramp, evaluate=e, **kwargs) for n, e in measures.items()}


@pytest.mark.parametrize("top", [1.0, 4.0])
def test_a_quantity_that_falls_is_read_on_its_better_side(top):
    found = measured(network(), blobs(), RangeRamp(0.0, top, 300))
    right = found["accuracy"].bounds()
    assert 0 < right.base_lr < right.max_lr < top / 2
    assert (found["accuracy"].ended == ["finished"]) == (top == 1.0)
    error, loss = found["error"].bounds(), found["loss"].bounds()
    assert (error.base_lr, error.max_lr) == pytest.approx((right.base_lr, right.max_lr))
    assert "test accuracy, which falls as the model improves" in error.why
    if loss.max_lr is not None:
        assert 1 / 3 < loss.max_lr / right.max_lr < 3


def test_the_side_that_is_better_can_be_said():
    data, ramp = blobs(), RangeRamp(0.0, 1.0, 200)
    kwargs = {"evaluate": lambda m: F.cross_entropy(m(data[0]), data[1])}
    detected = run(network(), data, ramp, **kwargs).bounds()
    said = run(network(), data, ramp, greater_is_better=False, **kwargs).bounds()
    assert said == detected and said.max_lr is not None


def test_a_metric_whose_better_side_is_not_seen_is_not_read():
    steps = []
    test = run(
        network(), blobs(), RangeRamp(0.0, 1.0, 200),
        metric=lambda *_: steps.append(1) or float(len(steps) // 50 % 2),
    )  # fmt: skip
    bounds = test.bounds()
    assert bounds.max_lr is None and "greater_is_better" in bounds.why


def test_a_pretrained_model_has_its_max_lr_where_it_gets_worse():
    data = blobs()
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    loader = DataLoader(TensorDataset(*data), 128, shuffle=True)
    for metric in ({}, {"metric": None}):
        bounds = lr_range_test(
            model, loader, loss=F.cross_entropy, optimizer=optimizer,
            policy=RangeRamp(0.0, 8.0, 300), seeds=range(5), **metric,
        ).bounds()  # fmt: skip
        assert bounds.base_lr is None and 0 < bounds.max_lr < 6
        assert "it only gets worse, so no base_lr" in bounds.why


def test_clipping_raises_the_bounds_of_a_steep_loss():
    x, labels = blobs(scale=10.0)
    kwargs = {"optimizer": None}
    found = {}
    for clip in (None, 0.1):
        model = network()
        kwargs["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
        test = run(model, (x, labels), RangeRamp(0.0, 0.8, 200), clip_grad_norm=clip, **kwargs)
        found[clip] = test.bounds().max_lr
    assert found[0.1] > 1.5 * found[None]


def test_clipping_is_that_of_the_plain_loop_and_comes_after_the_scaler():
    data = blobs(64)
    runs = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        norms, model = [], network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = optimizer.step

        def watched(*args, step=step, model=model, norms=norms, **kwargs):
            gradients = [p.grad for p in model.parameters()]
            norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
            return step(*args, **kwargs)

        optimizer.step = watched
        run(
            model, data, RangeRamp(0.0, 0.1, 20), optimizer=optimizer, clip_grad_norm=0.05,
            scaler=scaler,
        )  # fmt: skip
        runs.append(norms)
    assert max(runs[0]) == pytest.approx(0.05, rel=1e-3)
    assert runs[0] == pytest.approx(runs[1], rel=1e-3)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "1"])
def test_a_norm_to_clip_to_is_above_0(value):
    with pytest.raises((TypeError, ValueError), match="clip_grad_norm must be .*above 0; got "):
        run(network(), blobs(64), RangeRamp(0.0, 0.1, 20), clip_grad_norm=value)


def test_the_copies_lie_on_the_device_that_is_named():
    model, data = network(), blobs(64)
    before = [p.detach().clone() for p in model.parameters()]
    run(network(), data, RangeRamp(0.0, 0.1, 20), restore_to="cpu")
    with restored(model, restore_to="cpu"), torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    with (  # what lies on this device has no values
        pytest.raises(NotImplementedError, match="meta"),
        restored(model, restore_to="meta"),
    ):
        pass
