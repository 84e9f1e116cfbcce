import numpy as np
import pytest

from clr.range_test import read_bounds

LR = np.linspace(0, 1, 101)


def curve(rise, fall):
    """Accuracy 0.1, up to 0.9 in 0.1 from `rise` on, and down again at `fall`."""
    up = np.interp(LR, [rise, rise + 0.1], [0.1, 0.9])
    return np.where(fall <= LR, 0.1, up)


def test_bounds_of_a_clean_curve():
    bounds = read_bounds(LR, curve(0.2, 0.7))
    assert bounds.base_lr == pytest.approx(0.21, abs=0.011)  # a tenth of the rise
    assert bounds.max_lr == pytest.approx(0.69, abs=0.011)


def test_single_outliers_do_not_move_the_bounds():
    accuracy = curve(0.2, 0.7)
    accuracy[[5, 45]] = 0.9, 0.0
    assert read_bounds(LR, accuracy) == read_bounds(LR, curve(0.2, 0.7))


def test_a_start_above_the_plateau_is_not_taken_for_the_rise():
    accuracy = curve(0.2, 0.7)
    accuracy[:5] = 0.2  # chance, before all predictions become one class
    assert read_bounds(LR, accuracy) == read_bounds(LR, curve(0.2, 0.7))


def test_noise_moves_them_a_little():
    noisy = curve(0.2, 0.7) + np.random.default_rng(0).normal(0, 0.02, 101)
    clean = read_bounds(LR, curve(0.2, 0.7))
    bounds = read_bounds(LR, noisy)
    assert bounds.base_lr == pytest.approx(clean.base_lr, abs=0.02)
    assert bounds.max_lr == pytest.approx(clean.max_lr, abs=0.02)


def test_a_curve_that_cannot_be_read_says_why():
    flat = read_bounds(LR, np.full(101, 0.1))
    assert (flat.base_lr, flat.max_lr) == (None, None) and "flat" in flat.why
    falling = read_bounds(LR, np.linspace(0.3, 0.1, 101))
    assert falling.base_lr is None and "flat" in falling.why
    rising = read_bounds(LR, curve(0.2, 2.0))
    assert rising.base_lr and rising.max_lr is None and "never falls" in rising.why
    assert "too short: 9 points" in read_bounds(LR[:9], LR[:9]).why


def test_bad_curves():
    with pytest.raises(ValueError, match="equally long"):
        read_bounds(LR, LR[1:])
    with pytest.raises(ValueError, match="lr must rise"):
        read_bounds(LR[::-1], LR)
