"""The multiplier of each parameter group: one rule for `PolicyLR` and `lr_range_test`.

A group keeps the ratio of its lr to that of the first group whose lr is not 0. A frozen group,
whose lr is 0, thus stays frozen. A group's `lr_mult` (timm calls it `lr_scale`) replaces the
ratio: the rate is multiplied by it, whatever the group's lr.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from clr import checks

NAMES = ("lr_mult", "lr_scale")  # the first of them that a group has is its multiplier
_ROUNDED = 1.001  # an lr above the rate by more than this factor is no rounding


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


def multipliers(groups: Sequence[Mapping[str, Any]], no_ratios: bool = False) -> list[float]:
    """What the rate is multiplied by in each of an optimizer's parameter groups.

    An only group without `lr_mult` has 1. Where a scheduler has set every lr to 0, as a warm-up
    does at its start, the groups' `initial_lr` is used instead. Where this is 0, too, each
    group without `lr_mult` has 1, and if there are several, a warning says so. With `no_ratios`
    only `lr_mult` counts.
    """
    own = [own_multiplier(group, i) for i, group in enumerate(groups)]
    given = [1.0 if mult is None else mult for mult in own]
    if no_ratios or len(groups) == 1 or None not in own:
        return given  # without reading lrs back from a GPU
    rates = [lr_of(group, i) for i, group in enumerate(groups)]
    if not any(rates):
        rates = [lr_of(group, i, "initial_lr") for i, group in enumerate(groups)]
    if not any(rates):
        if own.count(None) > 1:
            warnings.warn(
                f"the lr of each of the optimizer's {len(groups)} parameter groups is 0 and "
                "gives no ratio between them: all without lr_mult get the same rate; set "
                "group['lr_mult'] in optimizer.param_groups for another",
                stacklevel=3,
            )
        return given
    both = list(zip(rates, own, strict=True))
    first = next((rate for rate, mult in both if rate and mult is None), 1.0)
    return [rate / first if mult is None else mult for rate, mult in both]


class Groups:
    """An optimizer's parameter groups, whose lr a scheduler sets.

    A group's lr is a rate, times its `own` multiplier (its `lr_mult`, or its lr's ratio), times
    a factor, which is what other schedulers have multiplied its lr by.
    """

    def __init__(self, optimizer: Optimizer, own: list[float]) -> None:
        self.optimizer, self.own, self.factors = optimizer, own, [1.0] * len(own)
        self.rates, self.lrs = [0.0] * len(own), [0.0] * len(own)  # as they were set
        self.resumed = False  # whether the optimizer's own state may follow the scheduler's
        # per group, if there is one whose lr is a tensor: that and its version
        self._tensors: list[tuple[Tensor, int] | None] = []
        self._note()

    def set(self, rates: list[float]) -> list[float]:
        """Set each group's lr to its rate times its multipliers; returns the lrs."""
        lrs = []
        for group, rate, scale in zip(self._list, rates, self._scales, strict=True):
            lr = rate * scale
            if self._tensors:
                set_value(group, "lr", lr)
            else:
                group["lr"] = lr
            lrs.append(lr)
        if self._tensors:
            self._tensors = [_seen(group["lr"]) for group in self._list]
        self.rates, self.lrs, self.resumed = rates, lrs, False
        return lrs

    def look(self, *, afresh: bool = False) -> None:
        """Take in what has changed in the groups since `set`, before the next `set`.

        An lr that another scheduler has changed gives the group's factor; `afresh` sets all
        factors to 1. A group that was added, or a frozen one that was given an lr, gets the
        ratio of its lr to the rate. A group that was added with the optimizer's default lr gets
        its ratio to the first group's lr at the start. Raises TypeError or ValueError for a
        wrong `lr_mult`, and ValueError for an lr above the rate; then nothing has changed.
        """
        if not afresh and not self._changed():
            return
        groups = self.optimizer.param_groups
        # other dictionaries come from the optimizer's load_state_dict, not from a scheduler
        same = not afresh and (groups is self._list or self.resumed)
        own, factors = self.own[: len(groups)], self.factors[: len(groups)]
        for i, group in enumerate(groups):
            if i == len(own):
                first = next((k for k in range(i) if own[k]), 0)
                own.append(self._added(i, group, first))
                factors.append(factors[first])
            elif same:
                own[i], factors[i] = self._heeded(i, group)
            mult = own_multiplier(group, i)
            own[i] = own[i] if mult is None else mult
        self.own, self.factors = own, [1.0] * len(own) if afresh else factors
        self._note()

    def _note(self) -> None:
        """Keep what `set` multiplies by, and what `_changed` compares."""
        unshare(self.optimizer)
        groups = self._list = self.optimizer.param_groups
        self._scales = [a * b for a, b in zip(self.own, self.factors, strict=True)]
        self._mults = [_raw_multiplier(group) for group in groups]
        has_tensors = any(isinstance(group["lr"], Tensor) for group in groups)
        self._tensors = [None for _ in groups if has_tensors]

    def _changed(self) -> bool:
        groups = self.optimizer.param_groups
        if self._tensors or groups is not self._list or len(groups) != len(self.own):
            return True
        for group, lr, mult in zip(groups, self.lrs, self._mults, strict=True):
            if group["lr"] is not lr or group.get("lr_mult", group.get("lr_scale")) is not mult:
                return True
        return False

    def _heeded(self, i: int, group: dict[str, Any]) -> tuple[float, float]:
        """A group's own multiplier and its factor, as its lr shows them."""
        own, factor, lr, was = self.own[i], self.factors[i], group["lr"], self.lrs[i]
        if isinstance(lr, Tensor):
            seen = self._tensors[i] if self._tensors else None
            if seen is not None and seen[0] is lr and seen[1] == lr._version:
                return own, factor  # without reading it back from a GPU
            was = torch.tensor(was, dtype=lr.dtype).item()
        now, highest = lr_of(group, i), self.rates[i] * own
        if now == was:
            return own, factor
        if not own:
            return _ratio(i, now, self.rates[i]), 1.0
        if not highest:
            _warn_of_no_ratio(i, now, highest)
            return own, factor
        if now > _ROUNDED * highest:
            raise ValueError(
                f"lr of parameter group {i} must not be raised above {highest:g}, the rate of "
                f"PolicyLR; got {now:g}. Build PolicyLR before a scheduler that multiplies its "
                "rate, such as LinearLR. For one schedule after another use Stages or "
                "SequentialLR, and for a rate of the group's own its lr_mult"
            )
        return own, min(1.0, now / highest)

    def _added(self, i: int, group: dict[str, Any], first: int) -> float:
        """The ratio of a group that was added to the rate of the group `first`."""
        if own_multiplier(group, i) is not None:
            return 1.0
        lr, beside = lr_of(group, i), self.optimizer.param_groups[first]
        if lr == lr_of(self.optimizer.defaults, i):  # it was added without an lr
            initial = lr_of(beside, first, "initial_lr")
            return lr / initial if initial else 1.0
        own = self.own[first]
        return _ratio(i, lr, lr_of(beside, first) / own if own else 0.0)

    def state(self) -> list[dict[str, float]]:
        """Each group's own multiplier, factor and lr as it was set, as JSON values."""
        kept = zip(self.own, self.factors, self.lrs, strict=True)
        return [{"lr_mult": own, "factor": factor, "lr": lr} for own, factor, lr in kept]

    def resume(
        self,
        state: Sequence[Mapping[str, float]] | None,
        lrs: list[float],
        rates: list[float] | None,
        *,
        is_new: bool,
    ) -> None:
        """Go on from `state`, when the groups had these `lrs`; None stands for an older state.

        `rates` are the policy's. If it is new, the groups get these rates instead of the lrs.
        None stands for a scheduler that waits in a SequentialLR: no lr is set.
        """
        if state is None:
            state = [{"lr_mult": own, "lr": lr} for own, lr in zip(self.own, lrs, strict=True)]
        kept = [{"factor": 1.0, **each} for each in state]
        own, factors, were = (
            [checks.rate(f"{name} of state_dict['groups']", each.get(name)) for each in kept]
            for name in ("lr_mult", "factor", "lr")
        )
        n = len(self.optimizer.param_groups)
        if not 1 <= len(own) <= n:  # fewer where groups were added since the last step
            raise ValueError(
                "state_dict['groups'] must have at least one entry, and at most one for each "
                f"of the optimizer's {n} parameter groups; the saved state has {len(own)}"
            )
        if rates is not None:
            for i, was in enumerate(were if is_new else []):
                were[i] = rates[i] * own[i] * factors[i]
                # what another scheduler has changed since `set` stays
                lrs[i] = were[i] * (lrs[i] / was) if was else were[i]
            unshare(self.optimizer)
            for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
                set_value(group, "lr", lr)
        self.own, self.factors, self.rates, self.lrs = own, factors, rates or [0.0] * n, were
        self.resumed = not is_new
        self._note()


def _raw_multiplier(group: Mapping[str, Any]) -> object:
    return group.get("lr_mult", group.get("lr_scale"))


def _seen(lr: Any) -> tuple[Tensor, int] | None:
    """An lr that is a tensor, and its version, which counts the changes in place."""
    return (lr, lr._version) if isinstance(lr, Tensor) else None


def _ratio(index: int, lr: float, rate: float) -> float:
    """The ratio of an lr that a group was given to the rate; 1, with a warning, if above."""
    if rate and lr <= _ROUNDED * rate:
        return lr / rate
    _warn_of_no_ratio(index, lr, rate)
    return 1.0 if lr else 0.0


def _warn_of_no_ratio(index: int, lr: float, rate: float) -> None:
    warnings.warn(
        f"the lr of parameter group {index} was set to {lr:g} where the policy's rate is "
        f"{rate:g}, so it is not taken as a share of that rate; set group['lr_mult'] in "
        "optimizer.param_groups for another rate than the policy's",
        stacklevel=6,
    )


def unshare(optimizer: Optimizer) -> None:
    """Give each group whose lr is a tensor a tensor of its own, and the defaults another one.

    PyTorch gives one tensor, that of the optimizer's defaults, to all groups without an lr.
    The first group keeps its tensor.
    """
    seen: list[object] = []
    for holder in (*optimizer.param_groups, optimizer.defaults):
        if isinstance(holder.get("lr"), Tensor) and any(holder["lr"] is each for each in seen):
            holder["lr"] = holder["lr"].clone()
        seen.append(holder.get("lr"))


def set_value(group: dict[str, Any], name: str, value: float) -> None:
    """Set a value of a group; one that is a tensor stays the same tensor."""
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value
