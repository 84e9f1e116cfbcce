"""What multiplies the rate in each parameter group: the rule of both tools."""

import warnings

import pytest
import torch

from clr.groups import multipliers


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
