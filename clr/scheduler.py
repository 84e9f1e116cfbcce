"""`PolicyLR`: a torch scheduler that follows a policy, one step per iteration."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer, RMSprop
from torch.optim.lr_scheduler import LRScheduler

from clr import checks
from clr.groups import Groups, multipliers, set_value
from clr.policies import (
    CyclicalMomentum,
    OneCycleMomentum,
    Policy,
    a_policy,
    policy_from_dict,
)

__all__ = ["PolicyLR"]

_BLOCK = 1024  # policy values computed together, so that a step mostly reads a list


class PolicyLR(LRScheduler):
    """Sets every group's lr to `policy(iteration)`, times its `lr_mult` or its lr's ratio.

        policy = WarmupStableDecay(max_lr=0.1, iterations=10_000, warmup=500, decay=2_000)
        scheduler = PolicyLR(optimizer, policy)
        for epoch in range(epochs):
            for images, labels in batches:
                optimizer.zero_grad()
                loss(model(images), labels).backward()
                optimizer.step()
                scheduler.step()  # after every optimizer.step(), not once per epoch

    An iteration is one `optimizer.step()`, and `scheduler.step()` follows each of them:

    * with gradient accumulation, both are called once per `n` batches;
    * a step that a `GradScaler` skips counts as an iteration, unless you skip
      `scheduler.step()`, too (where `scaler.get_scale()` is lower than before
      `scaler.update()`); Accelerate skips it;
    * Accelerate calls `scheduler.step()` once per process, so on 2 processes the policy is
      passed through in half of the updates. Give the policy twice the iterations, or
      `Accelerator(step_scheduler_with_optimizer=False)`;
    * Lightning calls it per epoch unless `configure_optimizers` says `"interval": "step"`.

    **Parameter groups.** A group keeps the ratio of its lr to that of the first group whose lr
    is not 0, so a frozen group (lr 0) stays frozen. `lr_mult` in a group (timm's `lr_scale`)
    replaces the ratio. A group that is added later with an lr below the rate of that moment
    keeps that ratio; where an lr gives no ratio, a warning names `lr_mult`. The optimizer's lr
    plays no other part. `policy` may also be a list, one policy per group, each multiplied by
    the group's `lr_mult` alone.

    **Other schedulers.** What another scheduler multiplies a group's lr by is kept, in a
    `ChainedScheduler` or with `ReduceLROnPlateau` beside this one; build PolicyLR before it.
    ValueError if something raises an lr above the policy's rate. For one schedule after another
    use `Stages` or `SequentialLR`. Where this one begins later in a `SequentialLR`, the groups
    have the ratios that they had when it was built, as with PyTorch's own schedulers.

    `momentum` is also a policy (such as `CyclicalMomentum`) and sets the momentum, which is
    `betas[0]` for the Adam family. Without it the momentum does not change. ValueError is
    raised when a policy reaches a rate that is below 0 or not finite, or a momentum that is
    below 0 or not below 1. `last_epoch` (PyTorch's name) is the last iteration that is done, -1
    at the start: with `last_epoch=k` the next one is k + 1.

    The state holds the iteration, the rates and the policies, as plain values. Loading it sets
    the optimizer's lr at once. It raises ValueError if the state was saved with other policies.
    With `change_policy=True` it keeps the state's iteration and goes on under this scheduler's
    policies, such as a longer one; this also works where Lightning or the Trainer of Hugging
    Face loads the state.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        policy: Policy | Sequence[Policy],
        *,
        momentum: Policy | None = None,
        last_epoch: int = -1,
        change_policy: bool = False,
    ) -> None:
        self.optimizer = optimizer
        usage = "a torch.optim.Optimizer, as in PolicyLR(optimizer, policy)"
        checks.instance("optimizer", optimizer, Optimizer, usage)
        self.one_per_group = isinstance(policy, list | tuple)
        if isinstance(policy, list | tuple):
            named = {f"policy[{i}]": each for i, each in enumerate(policy)}
        else:
            named = {"policy": policy}
        self.policies = tuple(_of_a_rate(name, each) for name, each in named.items())
        self.momentum = checks.or_none(a_policy)("momentum", momentum)
        for group in optimizer.param_groups if momentum is not None else ():
            if not {"momentum", "betas"} & set(group):
                raise ValueError(
                    f"momentum must be None for {type(optimizer).__name__}, which has none; "
                    f"got {momentum!r}"
                )
        last_epoch = checks.whole("last_epoch", last_epoch, low=-1)
        self.change_policy = checks.flag("change_policy", change_policy)
        self._rates = [_Values("rate", each, checks.rate) for each in self.policies]
        self._momenta = (
            [] if momentum is None else [_Values("momentum", momentum, checks.momentum)]
        )
        for iteration in {0, last_epoch + 1}:
            self._at(iteration)  # raises before the optimizer has changed
        self._groups = Groups(
            optimizer, multipliers(optimizer.param_groups, self.one_per_group)
        )
        self._begins = True
        super().__init__(optimizer)  # sets the lr of iteration 0
        if last_epoch >= 0:
            self.last_epoch = last_epoch + 1
            self._last_lr = self.get_lr()
        self._begins = False

    def _at(self, t: int) -> list[float]:
        """The policy's rate at iteration `t` for each group; raises if there is none."""
        for momentum in self._momenta:
            momentum(t)
        n = len(self.optimizer.param_groups)
        if not self.one_per_group:
            return [self._rates[0](t)] * n
        rates = [rate(t) for rate in self._rates]
        if len(rates) != n:
            raise ValueError(
                f"policy must be one policy, or one for each of the {n} parameter groups; got "
                f"{len(rates)}"
            )
        return rates

    def get_lr(self) -> list[float | Tensor]:
        """Set the rates of the current iteration, and the momentum; returns the rates.

        ValueError if there is a policy for each group and a group was added since.
        """
        return self._set(self.last_epoch, afresh=self._begins)

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        """What torch calls to set an iteration, as a SequentialLR does to begin."""
        return self._set(self.last_epoch, afresh=True)

    def _set(self, t: int, *, afresh: bool = False) -> list[float | Tensor]:
        rates = self._at(t)
        self._groups.look(afresh=afresh)
        if self._momenta:
            self._set_momentum(self._momenta[0](t))
        return [*self._groups.set(rates)]

    def _set_momentum(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            if "betas" not in group:
                set_value(group, "momentum", value)
            elif isinstance(group["betas"][0], Tensor):
                group["betas"][0].fill_(value)
            else:
                group["betas"] = (value, *group["betas"][1:])
            if isinstance(self.optimizer, RMSprop) and value > 0:
                self._add_missing_buffers(group["params"])

    def _add_missing_buffers(self, parameters: list[Tensor]) -> None:
        """Add the momentum buffers; RMSprop makes them only if its first step has momentum."""
        for each in parameters:
            state = self.optimizer.state.get(each)
            if state and "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(each)

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next iteration, to be called after `optimizer.step()`.

        `epoch` (PyTorch's name) is an iteration to go to instead. A step that raises leaves
        the scheduler and the optimizer as they were.
        """
        if epoch is not None:
            if not isinstance(epoch, numbers.Integral):
                raise TypeError(
                    "epoch must be an iteration, a whole number at least 0, or left out; got "
                    f"{checks.shown(epoch)} (PolicyLR takes no loss: call scheduler.step())"
                )
            epoch = checks.count("epoch", epoch)
        if epoch is None and self._step_count > 1:  # what torch does, without its warnings
            self._last_lr = self._set(self.last_epoch + 1)
            self.last_epoch += 1
            self._step_count += 1
            return
        before = self.last_epoch, self._step_count
        self._begins = self._step_count == 0  # also when a SequentialLR begins with this one
        try:
            super().step(epoch)
            self._last_lr = [*self._groups.set(self._groups.rates)]  # torch wrote the tensors
        except Exception:
            self.last_epoch, self._step_count = before
            raise
        finally:
            self._begins = False

    def state_dict(self) -> dict:
        """The iteration, the rates, the policies and the groups, as JSON values only."""
        return {
            "iteration": self.last_epoch,
            "lr": [float(group["lr"]) for group in self.optimizer.param_groups],
            "policy": [policy.to_dict() for policy in self.policies],
            "momentum": None if self.momentum is None else self.momentum.to_dict(),
            "groups": self._groups.state(),
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from where `state_dict` was saved; the dict is not changed.

        A state that is refused leaves the scheduler and the optimizer as they were.
        """
        state = state_dict if isinstance(state_dict, Mapping) else {}
        if missing := sorted({"iteration", "lr", "policy", "momentum"} - set(state)):
            raise ValueError(
                f"state_dict must be a PolicyLR's; it has no {', '.join(missing)}; got "
                f"{checks.shown(state_dict)}"
            )
        for name in ("lr", "policy", *(["groups"] if state.get("groups") is not None else [])):
            saved = "a list, as PolicyLR.state_dict() has it"
            checks.instance(f"state_dict['{name}']", state[name], list | tuple, saved)
        for each in state.get("groups") or []:
            checks.instance("state_dict['groups']", each, Mapping, "a list of dictionaries")
        n = len(self.optimizer.param_groups)
        iteration = checks.whole("state_dict['iteration']", state["iteration"], low=-1)
        lrs = [checks.rate("state_dict['lr']", each) for each in state["lr"]]
        if len(lrs) != n:
            raise ValueError(
                f"state_dict['lr'] must have one rate for each of the {n} parameter groups of "
                f"the optimizer; the saved state has {len(lrs)}"
            )
        is_new, begun = self._is_new(state, iteration), iteration >= 0
        rates = self._at(iteration) if begun else None  # -1: waits in a SequentialLR
        self._groups.resume(state.get("groups"), lrs, rates, is_new=is_new and begun)
        self.last_epoch, self._step_count = iteration, iteration + 1
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]
        if begun and self._momenta:
            self._set_momentum(self._momenta[0](iteration))

    def _is_new(self, state: Mapping, iteration: int) -> bool:
        """Whether a state has other policies than this scheduler, which must be allowed."""
        plain = self.state_dict()
        same = all(state[name] == plain[name] for name in ("policy", "momentum"))
        if same or self.change_policy:
            return not same
        for name, ours in (("policy", self.policies), ("momentum", self.momentum)):
            try:
                theirs = _saved_policies(state[name])
            except (TypeError, ValueError) as error:
                raise type(error)(f"state_dict['{name}']: {error}") from None
            if theirs != ours:
                raise ValueError(
                    f"{name} of the saved state is {theirs}, this scheduler's is {ours}. To go "
                    f"on at the saved iteration, {iteration}, under this scheduler's, build it "
                    "with PolicyLR(..., change_policy=True): in Lightning's "
                    "configure_optimizers, or where Hugging Face's Trainer is given its "
                    "optimizers. Without the state, "
                    f"PolicyLR(..., last_epoch={max(iteration, 0) - 1}) goes on there, too"
                )
        return False


def _saved_policies(saved: Any) -> tuple[Policy, ...] | Policy | None:
    """The policies of the groups or, of the momentum, the policy or None."""
    if isinstance(saved, list | tuple):
        return tuple(map(policy_from_dict, saved))
    return saved if saved is None else policy_from_dict(saved)


class _Values:
    """A policy's values; many are computed at once, so that a step mostly reads a list."""

    def __init__(
        self, name: str, policy: Policy, check: Callable[[str, object], float]
    ) -> None:
        self.name, self.policy, self.check = name, policy, check
        self.start, self.allowed = 0, True
        self.block: list[float] = []

    def __call__(self, t: int) -> float:
        """The value at iteration `t`; ValueError if it is not allowed."""
        i = t - self.start
        if not 0 <= i < len(self.block):
            i = self._compute(t)
        value = self.block[i]
        return value if self.allowed else self.check(f"{self.name} at iteration {t}", value)

    def _compute(self, t: int) -> int:
        """Compute the block that holds iteration `t`; returns its place there."""
        policy = self.policy
        start = t - t % _BLOCK
        stop = start + _BLOCK
        if policy.end is not None and policy.past_end == "raise":
            stop = min(stop, max(policy.end, t) + 1)
        values = policy(np.arange(start, stop))
        self.block, self.start = values.tolist(), start
        try:
            for each in (values.min(), values.max()):  # NaN, if there is one, is both of them
                self.check(self.name, float(each))
            self.allowed = True
        except ValueError:
            self.allowed = False  # from some iteration on, which may not be reached
        return t - start


def _of_a_rate(name: str, value: object) -> Policy:
    policy = a_policy(name, value)
    if isinstance(policy, CyclicalMomentum | OneCycleMomentum):
        raise TypeError(
            f"{name} must be a policy of the learning rate; got {policy}, a policy of the "
            "momentum: PolicyLR(optimizer, policy, momentum=...)"
        )
    return policy
