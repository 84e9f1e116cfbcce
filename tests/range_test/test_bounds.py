import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from clr.policies import RangeRamp
from clr.range_test import COLUMNS, METHODS, RangeTest, lr_range_test
from clr.training import load

LR = np.linspace(0, 1, 101)


def curve(rise, fall):
    """Accuracy 0.1, up to 0.9 in 0.1 from `rise` on, and down again at `fall`."""
    up = np.interp(LR, [rise, rise + 0.1], [0.1, 0.9])
    return np.where(fall <= LR, 0.1, up)


def test_of(*accuracies, loss=None, lr=LR):
    loss = np.full(len(lr), 2.0) if loss is None else loss
    curves = [
        pd.DataFrame(
            {"iteration": 10 * np.arange(len(lr)), "lr": lr, "train_loss": loss}
            | {"train_accuracy": np.nan, "test_accuracy": accuracy}
        )[COLUMNS]
        for accuracy in accuracies
    ]
    return RangeTest(curves, ["finished"] * len(curves))


test_of.__test__ = False


def read(accuracy, method="accuracy", **kwargs):
    bounds = test_of(accuracy, **kwargs).bounds(method)
    return bounds.base_lr, bounds.max_lr


def test_bounds_of_a_clean_curve():
    base, top = read(curve(0.2, 0.7))
    assert base == pytest.approx(0.225)  # a quarter of the rise is done
    assert top == pytest.approx(0.29)  # nine tenths
    assert read(curve(0.2, 0.7), "falls") == (base, pytest.approx(0.69, abs=0.011))
    assert read(curve(0.2, 0.7), "max/3") == (top / 3, top)
    assert read(curve(0.2, 0.7), "max/4") == (top / 4, top)


def test_single_outliers_do_not_move_the_bounds():
    accuracy = curve(0.2, 0.7)
    accuracy[[5, 45]] = 0.9, 0.0
    assert read(accuracy) == read(curve(0.2, 0.7))


def test_a_start_above_the_plateau_is_not_taken_for_the_rise():
    accuracy = curve(0.2, 0.7)
    accuracy[:5] = 0.2  # chance, before all predictions become one class
    assert read(accuracy) == read(curve(0.2, 0.7))


def test_noise_moves_them_a_little():
    noisy = curve(0.2, 0.7) + np.random.default_rng(0).normal(0, 0.02, 101)
    assert read(noisy) == pytest.approx(read(curve(0.2, 0.7)), abs=0.02)


def test_a_peak_before_a_collapse_is_not_taken_for_the_end_of_the_rise():
    accuracy = np.where(LR < 0.1, 0.8, curve(0.2, 2.0))
    base, top = read(accuracy)
    assert 0.2 < base < top < 0.3


def ragged(turn):
    """A loss that falls up to row `turn`, and is ragged and far higher behind it."""
    behind = 3.0 + np.abs(np.random.default_rng(0).normal(0, 3, 101))
    falling = 2.3 - 1.5 / (1 + np.exp(4 - 10 * np.arange(101) / turn))
    return np.where(np.arange(101) > turn, behind, falling)


def test_a_fall_that_ends_early_is_read_although_what_follows_is_ragged():
    found = test_of(ragged(14), loss=ragged(14)).bounds("loss")
    assert 0.02 < found.base_lr < found.max_lr < 0.15
    found = test_of(ragged(6), loss=ragged(6)).bounds("loss")
    assert "only gets worse" not in found.why


def test_where_it_only_gets_worse_a_dip_before_the_fall_is_not_taken_for_it():
    accuracy = 0.9 - np.interp(LR, [0.6, 1.0], [0.0, 0.5])
    accuracy[20:24] = 0.8
    bounds = test_of(accuracy).bounds()
    assert bounds.base_lr is None and bounds.max_lr == pytest.approx(0.64, abs=0.02)


def test_a_range_that_goes_far_beyond_max_lr_says_where_to_end():
    early = np.interp(LR, [0, 0.08], [0.1, 0.9])
    assert test_of(early).bounds().caveat.endswith("another test that ends at about 0.29.")
    assert "another test" not in test_of(curve(0.2, 0.7)).bounds().caveat


def test_the_loss_gives_one_rate():
    loss = np.interp(LR, [0.2, 0.3, 0.6, 1.0], [2.3, 1.0, 0.5, 3.0])
    bounds = test_of(curve(0.2, 0.7), loss=loss).bounds("loss steepest")
    assert bounds.base_lr is None and 0.2 < bounds.max_lr <= 0.3 and "one rate" in bounds.why
    _, tenth = read(curve(0.2, 0.7), "loss minimum/10", loss=loss)
    assert tenth == pytest.approx(0.06, abs=0.003)


@pytest.mark.parametrize(
    ("accuracy", "loss", "method", "why"),
    [
        (np.full(101, 0.1), None, "accuracy", "no rise above the noise"),
        (np.linspace(0.3, 0.1, 101), None, "accuracy", "it only gets worse"),
        (np.linspace(0.1, 0.9, 101), None, "accuracy", "never slows"),
        (np.linspace(0.1, 0.9, 101), None, "max/3", "never slows"),
        (curve(0.2, 2.0), None, "falls", "never falls"),
        (np.full(101, 0.1), None, "falls", "no rise above the noise"),
        (curve(0.2, 0.7), np.linspace(1, 2, 101), "loss steepest", "monotone"),
        (curve(0.2, 0.7), np.linspace(2, 1, 101), "loss minimum/10", "monotone"),
        (np.where(LR < 0.05, 0.1, np.nan), None, "accuracy", "too short: 5 rows"),
    ],
)
def test_a_curve_that_cannot_be_read_says_why(accuracy, loss, method, why):
    bounds = test_of(accuracy, loss=loss).bounds(method)
    assert None in (bounds.base_lr, bounds.max_lr) and why in bounds.why
    assert bounds.method == method


def test_a_run_that_broke_at_once_says_where():
    test = test_of(np.full(101, np.nan))
    test.ended[0] = "diverged at iteration 1"
    assert test.bounds().why.endswith("it diverged at iteration 1")


def test_seeds_are_read_one_by_one_and_pooled():
    curves = [curve(rise, 0.8) for rise in (0.2, 0.25, 0.3)]
    bounds = test_of(*curves).bounds()
    assert bounds.seeds == tuple(read(each) for each in curves)
    assert (bounds.base_lr, bounds.max_lr) == bounds.seeds[1]
    assert bounds.spread() == pytest.approx({"base_lr": 0.325 / 0.225, "max_lr": 0.39 / 0.29})
    assert np.isnan(test_of(curve(0.2, 0.6)).bounds().spread()["max_lr"])


def test_both_bounds_are_medians_of_the_same_seeds():
    still_rising = np.linspace(0.1, 0.1, 101)
    still_rising[70:] = np.linspace(0.1, 0.9, 31)  # it begins late, and has no max_lr
    test = test_of(curve(0.05, 0.3), curve(0.4, 0.6), still_rising)
    bounds = test.bounds()
    assert bounds.seeds[2][0] > 0.6 and bounds.seeds[2][1] is None
    (low, high), (other_low, other_high), _ = bounds.seeds
    assert bounds.base_lr == (low + other_low) / 2 < bounds.max_lr == (high + other_high) / 2


def test_a_seed_that_ended_early_counts_as_far_as_it_went():
    test = test_of(curve(0.2, 0.7), curve(0.2, 0.7), curve(0.2, 0.7))
    test.curves[0] = test.curves[0][:32]
    assert test.bounds().seeds[0][1] is None  # up to 0.31 it has not been seen to end
    assert test.bounds().max_lr == test_of(curve(0.2, 0.7)).bounds().max_lr


def test_a_rise_up_to_the_end_of_an_exponential_ramp_is_seen():
    lr = np.geomspace(1e-5, 1.0, 101)
    bounds = test_of(np.linspace(0.1, 0.9, 101), lr=lr).bounds()
    assert bounds.max_lr is None and "never slows" in bounds.why


def test_where_a_run_broke_is_where_it_falls():
    test = test_of(np.where(LR < 0.6, curve(0.2, 2.0), np.nan))
    test.ended[0] = "diverged at iteration 60"
    assert test.bounds("falls").max_lr == pytest.approx(0.59)


def test_a_run_that_broke_while_it_rose_is_read_up_to_there():
    test = test_of(np.where(LR < 0.5, np.linspace(0.1, 0.9, 101), np.nan))
    assert test.bounds().max_lr is None
    test.ended[0] = "diverged at iteration 50"
    assert test.bounds().max_lr == pytest.approx(0.44, abs=0.02)


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="method must be one of accuracy, falls, max/3"):
        test_of(curve(0.2, 0.7)).bounds("valley")
    assert len(METHODS) == 7


@pytest.mark.parametrize("method", METHODS)
def test_a_ramp_that_is_too_short_is_not_read(method):
    loss = np.interp(LR, [0.2, 0.3, 0.6, 1.0], [2.3, 1.0, 0.5, 3.0])
    test = test_of(curve(0.2, 0.7), loss=loss)
    test.curves[0]["iteration"] = np.linspace(0, 99, 101)
    short = test.bounds(method)
    assert (short.base_lr, short.max_lr, short.seeds) == (None, None, ((None, None),))
    assert short.why.startswith("too short: after 99 iterations") and "make it" in short.why
    test.ended[0] = "diverged at iteration 99"
    assert "lower the range's end" in test.bounds(method).why
    test.curves[0]["iteration"] = np.linspace(0, 100, 101)
    assert test.bounds(method).max_lr is not None


def test_what_is_read_off_depends_on_the_length_and_says_so():
    caveat = test_of(curve(0.2, 0.7)).bounds().caveat
    assert "four times as long: about half" in caveat and "about 1,000 iterations" in caveat


def test_on_the_digits_a_longer_ramp_gives_lower_bounds():
    digits = load("digits")
    images, labels = digits.as_input(digits.train_images) / 255, digits.train_labels
    batches = list(zip(images.split(50), labels.split(50), strict=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    short, medium, long = (
        lr_range_test(
            model,
            batches,
            loss=nn.functional.cross_entropy,
            optimizer=sgd,
            policy=RangeRamp(0.0, 1.0, iterations),
        ).bounds()
        for iterations in (40, 160, 640)
    )
    assert short.max_lr is None and short.why.startswith("too short: after 40 iterations")
    for name in ("base_lr", "max_lr"):
        assert 0.3 < getattr(long, name) / getattr(medium, name) < 0.8
