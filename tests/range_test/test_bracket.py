"""The range test without a policy: the rates of interest are found, whatever they are."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clr.range_test import COLUMNS, Bounds, RangeTest, lr_range_test
from clr.range_test.bracket import STEPS, peak, turn

F = nn.functional


def data(scale=1.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2048, 8, generator=generator)
    return scale * x, (x[:, :4].sum(1) > x[:, 4:].prod(1)).long()


def run(model, x, y, loss, optimizer, **kwargs):
    torch.manual_seed(0)
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    loader = DataLoader(TensorDataset(x, y), 32, shuffle=True)
    optimizer = optimizer(model.parameters(), lr=0.1)
    return lr_range_test(model, loader, loss=loss, optimizer=optimizer, **kwargs)


def network(outputs=2):
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs))


def test_it_takes_300_steps_at_most_and_leaves_nothing_behind():
    model, steps = network(), []

    def loss(outputs, labels):
        steps.append(1)
        return F.cross_entropy(outputs, labels)

    torch.manual_seed(0)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(*data()), 32, shuffle=True)
    state = torch.get_rng_state()
    found = lr_range_test(model, loader, loss=loss, optimizer=optimizer)
    assert 200 < len(steps) <= STEPS == 300
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] == 0.1 and not optimizer.state
    (curve,) = found.curves
    assert curve["lr"].iloc[0] == 0 and np.ptp(np.diff(curve["lr"])) < 1e-9
    assert list(found.exponential) == COLUMNS
    bounds = found.bounds()
    assert 0 < bounds.base_lr < bounds.max_lr and 0 < bounds.peak < curve["lr"].max()


def test_with_seeds_only_the_last_ramp_is_made_for_each():
    steps = []
    found = run(
        network(), *data(), lambda *x: steps.append(1) or F.cross_entropy(*x), torch.optim.SGD,
        seeds=range(3), reset=lambda m: [m[0].reset_parameters(), m[2].reset_parameters()],
    )  # fmt: skip
    assert 400 < len(steps) <= 500 and len(found.curves) == 3
    assert all(curve["lr"].equals(found.curves[0]["lr"]) for curve in found.curves)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_loss_alone_gives_both_bounds(optimizer):
    x, _ = data()
    found = run(network(1), x, x[:, :4].sum(1, keepdim=True), F.mse_loss, optimizer)
    bounds = found.bounds()
    assert found.watched == "train_loss" and bounds.method == "loss"
    assert 0 < bounds.base_lr < bounds.max_lr and bounds.peak > 0


def test_the_rates_may_be_anywhere():
    peaks = {}
    for scale in (
        1.0,
        10.0,
        100.0,
    ):  # the unit of the inputs: the right rates differ 10,000 times
        x, y = data(scale)
        model = nn.Linear(8, 2, bias=False)
        zero = lambda m: nn.init.zeros_(m.weight)  # noqa: E731
        found = run(model, x, y, F.cross_entropy, torch.optim.SGD, reset=zero, metric=None)
        bounds = found.bounds()
        assert 0 < bounds.base_lr < bounds.max_lr
        peaks[scale] = bounds.peak * scale**2
    assert max(peaks.values()) < 1.5 * min(peaks.values())


def test_labels_that_cannot_be_learned_give_no_rate():
    x, _ = data()
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(2, (2048,), generator=generator)
    bounds = run(nn.Linear(8, 2), x, y, F.cross_entropy, torch.optim.SGD).bounds()
    assert (bounds.base_lr, bounds.max_lr, bounds.peak) == (None, None, None)
    assert bounds.why.startswith("no rise above the noise")


def test_a_model_that_is_trained_already_is_told_from_where_on_it_gets_worse():
    noise = np.random.default_rng(0).normal(0, 0.01, 270)
    flat = slow(0.1 + noise[170:]).assign(lr=np.linspace(0, 0.1, 101))
    worse = slow(0.1 + noise[:170] + np.geomspace(1e-6, 1.0, 170))
    bounds = RangeTest([flat], ["finished"], None, worse).bounds()
    assert (bounds.base_lr, bounds.max_lr, bounds.peak) == (None, None, None)
    said = re.search(r"only gets worse, from about (\S+) on\. If the model is", str(bounds))
    assert 0.1 < float(said[1]) < 0.5


def test_a_loss_that_is_nan_from_the_start_gives_no_rate_and_says_so():
    found = run(network(), *data(), lambda *x: F.cross_entropy(*x) * math.nan, torch.optim.SGD)
    bounds = found.bounds()
    assert (bounds.base_lr, bounds.max_lr, bounds.peak) == (None, None, None)
    assert "diverged at iteration 1" in bounds.why


def slow(losses):
    """The curve of a slow ramp with these losses, one per iteration."""
    n = len(losses)
    curve = pd.DataFrame(np.nan, index=range(n + 1), columns=COLUMNS)
    curve["iteration"], curve["lr"] = np.arange(n + 1), np.geomspace(1e-4, 1.0, n + 1)
    curve.loc[1:, "train_loss"] = losses
    return curve


def test_the_rate_at_which_a_quarter_of_the_fall_is_lost():
    share = np.linspace(0, 1, 170)
    losses = np.interp(share, [0, 0.3, 0.5, 0.6, 0.8], [2.0, 2.0, 1.0, 1.0, 3.0])
    rate, clear = turn(slow(losses))
    assert clear and rate == pytest.approx(1e-4 ** (1 - 0.625), rel=0.1)
    assert peak(slow(losses), rises=False) == rate / 6
    noisy = losses + np.random.default_rng(0).normal(0, 0.1, 170)
    assert turn(slow(noisy))[0] == pytest.approx(rate, rel=0.3)
    nothing = slow(2.0 + np.random.default_rng(0).normal(0, 0.1, 170))
    assert peak(nothing, rises=False) is None
    rising = np.interp(share, [0, 0.5, 1], [2.0, 2.0, 4.0])
    assert peak(slow(rising), rises=False) is None
    # the linear ramp may show what the slow one was too short for
    assert peak(slow(rising), rises=True) == turn(slow(rising))[0] / 6
    assert 0.005 < turn(slow(rising))[0] < 0.02


def test_a_person_reads_three_lines():
    bounds = Bounds(
        0.0012345, 0.0056789, "accuracy", "read off somehow", peak=0.0034, caveat="Mind."
    )
    assert str(bounds).splitlines() == [
        "base_lr 0.0012, max_lr 0.0057 for cycles; peak 0.0034 for a schedule that falls",
        "Read off somehow.",
        "Mind.",
    ]
    found = run(network(), *data(), F.cross_entropy, torch.optim.SGD)
    assert len(str(found.bounds()).splitlines()) == 3
    assert all(line.endswith(".") for line in str(found.bounds()).splitlines()[1:])
    assert "base_lr none, max_lr none" in str(Bounds(None, None, "accuracy", "flat"))


def test_a_bar_shows_the_steps(capsys):
    for progress in (None, False):  # None: in a terminal
        run(network(), *data(), F.cross_entropy, torch.optim.SGD, progress=progress)
        assert capsys.readouterr().err == ""
    run(network(), *data(), F.cross_entropy, torch.optim.SGD, progress=True)
    shown = capsys.readouterr().err
    assert "LR range test" in shown and " 0/300" in shown and "300/300" in shown
