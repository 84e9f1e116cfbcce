"""`PolicyLR`: a torch scheduler that follows a policy, one step per iteration."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer, RMSprop
from torch.optim.lr_scheduler import LRScheduler

from clr import checks
from clr.policies import Policy, a_policy, a_policy_or_none, policy_from_dict

__all__ = ["PolicyLR"]

_BLOCK = 1024  # policy values computed together, so that a step mostly reads a list


class PolicyLR(LRScheduler):
    """Sets every group's lr to `policy(iteration)`, times its `lr_mult` if it has one.

        scheduler = PolicyLR(optimizer, Triangular(base_lr=0.001, max_lr=0.006, stepsize=2000))
        for epoch in range(epochs):
            for images, labels in batches:
                optimizer.zero_grad()
                loss(model(images), labels).backward()
                optimizer.step()
                scheduler.step()  # after every batch, not once per epoch

    `policy` may be a list, one policy per parameter group. `momentum` is also a policy (such as
    `CyclicalMomentum`) and sets the momentum, which is `betas[0]` for the Adam family. Without
    it the momentum does not change. ValueError is raised when a policy reaches a rate that is
    below 0 or not finite, or a momentum that is below 0 or not below 1. The lr that the
    optimizer or an earlier scheduler has set is ignored. `last_epoch` (PyTorch's name) is the
    last iteration that is done, -1 at the start: with `last_epoch=k` the next one is k + 1.

    The state holds the iteration, the rates and the policies, as plain values. Loading it sets
    the optimizer's lr at once. It raises ValueError if the state was saved with other policies.
    To continue with a new policy, such as a longer one, build
    `PolicyLR(optimizer, new, last_epoch=k)`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        policy: Policy | Sequence[Policy],
        *,
        momentum: Policy | None = None,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer; got {checks.shown(optimizer)} "
                "(the order of the arguments is PolicyLR(optimizer, policy))"
            )
        self.optimizer = optimizer
        if isinstance(policy, Sequence) and not isinstance(policy, str):
            self.policies, self.one_per_group = _policies(policy), True
        else:
            self.policies, self.one_per_group = (a_policy("policy", policy),), False
        a_policy_or_none("momentum", momentum)
        for group in optimizer.param_groups if momentum is not None else ():
            if not {"momentum", "betas"} & set(group):
                raise ValueError(
                    f"momentum must be None for {type(optimizer).__name__}, which has none; "
                    f"got {momentum!r}"
                )
        self.momentum = momentum
        last_epoch = checks.whole("last_epoch", last_epoch, low=-1)
        self._blocks: dict[int, tuple[int, list[float]]] = {}
        for iteration in {0, last_epoch + 1}:
            self._at(iteration)  # raises before the optimizer has changed
        super().__init__(optimizer)  # sets the lr of iteration 0
        if last_epoch >= 0:
            self._go_to(last_epoch + 1)

    def _value(self, which: int, policy: Policy, t: int) -> float:
        start, block = self._blocks.get(which, (0, []))
        if not start <= t < start + len(block):
            start = t - t % _BLOCK
            stop = start + _BLOCK
            if policy.end is not None and policy.past_end == "raise":
                stop = min(stop, max(policy.end, t) + 1)
            block = policy(np.arange(start, stop)).tolist()
            self._blocks[which] = start, block
        return block[t - start]

    def _at(self, t: int) -> tuple[list[float | Tensor], float | None]:
        """The rates and the momentum of iteration `t`; raises if there are none."""
        groups, momentum = self.optimizer.param_groups, None
        if self.momentum is not None:
            momentum = self._value(-1, self.momentum, t)
            checks.momentum(f"momentum at iteration {t}", momentum)
        if self.one_per_group:
            if len(groups) != len(self.policies):
                raise ValueError(
                    f"policy must be one policy, or one for each of the {len(groups)} "
                    f"parameter groups; got {len(self.policies)}"
                )
            rates = [self._value(i, policy, t) for i, policy in enumerate(self.policies)]
        else:
            rates = [self._value(0, self.policies[0], t)] * len(groups)
        for each in rates:
            checks.rate(f"rate at iteration {t}", each)
        scaled = [
            lr * group.get("lr_mult", 1.0) for lr, group in zip(rates, groups, strict=True)
        ]
        return scaled, momentum

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the current iteration, one per parameter group.

        Sets the momentum, if there is a policy for it. ValueError if there is a policy for
        each group and a group was added since.
        """
        rates, momentum = self._at(self.last_epoch)
        if momentum is not None:
            self._set_momentum(momentum)
        return rates

    _get_closed_form_lr = get_lr  # what torch calls to set an iteration

    def _set_momentum(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            if "betas" not in group:
                _set(group, "momentum", value)
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
        before = self.last_epoch, self._step_count
        try:
            super().step(epoch)
        except Exception:
            self.last_epoch, self._step_count = before
            raise

    def _go_to(self, iteration: int) -> None:
        """Set the rates of that iteration in the optimizer, and as the last rates."""
        self._at(iteration)  # raises before anything has changed
        self.last_epoch = iteration
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            _set(group, "lr", lr)
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict:
        """`{"iteration": …, "lr": […], "policy": […], "momentum": …}`, JSON values only."""
        return {
            "iteration": self.last_epoch,
            "lr": [float(group["lr"]) for group in self.optimizer.param_groups],
            "policy": [policy.to_dict() for policy in self.policies],
            "momentum": None if self.momentum is None else self.momentum.to_dict(),
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue from where `state_dict` was saved; the dict is not changed.

        A state that is refused leaves the scheduler and the optimizer as they were.
        """
        if missing := sorted({"iteration", "lr", "policy", "momentum"} - set(state_dict)):
            raise ValueError(f"state_dict must be a PolicyLR's; it has no {', '.join(missing)}")
        groups, saved = self.optimizer.param_groups, state_dict["momentum"]
        iteration = checks.whole("the saved iteration", state_dict["iteration"], low=-1)
        rates = [_finite("the saved lr", each) for each in state_dict["lr"]]
        policies = tuple(policy_from_dict(each) for each in state_dict["policy"])
        momentum = None if saved is None else policy_from_dict(saved)
        for name, theirs, ours in (
            ("policy", policies, self.policies),
            ("momentum", momentum, self.momentum),
        ):
            if theirs != ours:
                raise ValueError(
                    f"{name} of the saved state is {theirs}, this scheduler's is {ours}; to go "
                    "on under a new policy build PolicyLR(..., last_epoch=k)"
                )
        if len(rates) != len(groups):
            raise ValueError(
                f"the saved state has {len(rates)} parameter groups, the optimizer "
                f"{len(groups)}"
            )
        if iteration >= 0:  # -1: not begun yet, in a SequentialLR
            self._go_to(iteration)
        # in a SequentialLR another scheduler may have set the rates: restore the saved ones
        for group, lr in zip(groups, rates, strict=True):
            _set(group, "lr", lr)
        self.last_epoch, self._last_lr = iteration, [*rates]
        self._step_count = self.last_epoch + 1


def _finite(name: str, value: object) -> float:
    largest = sys.float_info.max
    return checks.real(name, value, -largest, largest, "finite")


def _set(group: dict, name: str, value: float | Tensor) -> None:
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def _policies(value: Sequence[object]) -> tuple[Policy, ...]:
    if not value:
        raise ValueError(
            f"policy must be a clr Policy, or one per parameter group; got {value!r}"
        )
    return tuple(a_policy(f"policy[{i}]", each) for i, each in enumerate(value))
