"""The multiplier of each parameter group: one rule for `PolicyLR` and `lr_range_test`.

A group keeps the ratio of its lr to that of the first group whose lr is not 0. A frozen group,
whose lr is 0, thus stays frozen. A group's `lr_mult` (timm calls it `lr_scale`) replaces the
ratio: the rate is multiplied by it, whatever the group's lr.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from clr import checks

NAMES = ("lr_mult", "lr_scale")  # the first of them that a group has is its multiplier


def own_multiplier(group: Mapping[str, Any], index: int) -> float | None:
    """The `lr_mult` of the parameter group at `index`; None if it has none.

    TypeError or ValueError, naming it, unless it is a number that is finite and at least 0.
    """
    for name in NAMES:
        if name in group:
            return checks.rate(f"{name} of parameter group {index}", group[name])
    return None


def lr_of(group: Mapping[str, Any], index: int, name: str = "lr") -> float:
    """The lr of the parameter group at `index`, or its `initial_lr`; 0 if it has none.

    ValueError, naming it, unless it is finite and at least 0.
    """
    return checks.rate(f"{name} of parameter group {index}", float(group.get(name, 0.0)))


def multipliers(groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """What the rate is multiplied by in each of an optimizer's parameter groups.

    An only group without `lr_mult` has 1. Where a scheduler has set every lr to 0, as a warm-up
    does at its start, the groups' `initial_lr` is used instead. Where this is 0, too, each
    group without `lr_mult` has 1, and if there are several, a warning says so.
    """
    own = [own_multiplier(group, i) for i, group in enumerate(groups)]
    rates = [lr_of(group, i) for i, group in enumerate(groups)]
    if not any(rates):
        rates = [lr_of(group, i, "initial_lr") for i, group in enumerate(groups)]
    without = [rate for rate, mult in zip(rates, own, strict=True) if mult is None]
    if not any(rates) and len(without) > 1:
        warnings.warn(
            f"the lr of each of the optimizer's {len(groups)} parameter groups is 0 and gives "
            "no ratio between them: all without lr_mult get the same rate; set "
            "group['lr_mult'] in optimizer.param_groups for another",
            stacklevel=3,
        )
    if not any(rates) or len(groups) == 1:
        return [1.0 if mult is None else mult for mult in own]
    first = next((rate for rate in without if rate), 1.0)
    return [
        rate / first if mult is None else mult for rate, mult in zip(rates, own, strict=True)
    ]
