"""`PolicyLR`: a torch scheduler that follows a policy, one step an iteration.

optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
scheduler = PolicyLR(optimizer, Triangular(0.001, 0.006, stepsize=2000))
for images, labels in batches:
    ...
    optimizer.step()
    scheduler.step()  # after every batch, not after every epoch
"""

from __future__ import annotations

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clr.policies import Policy, policy_from_dict

_BLOCK = 1024  # policy values computed at once: a step then costs a list index


class PolicyLR(LRScheduler):
    """Sets every group's lr to `policy(iteration)`, times its `lr_mult` if it has one.

    `momentum`, a policy too, drives the momentum (or, for the Adam family,
    `betas[0]`); without it the momentum is left alone. What the optimizer or an
    earlier scheduler had as lr plays no part. `last_epoch` is the iteration.

    The state is the iteration and the policies as plain values. Loading it sets
    the optimizer's lr at once; ValueError if it was saved under other policies
    (to go on under a new one, build `PolicyLR(optimizer, new, iteration=k)`).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        policy: Policy,
        *,
        momentum: Policy | None = None,
        iteration: int = 0,
    ):
        for name, value in (("policy", policy), ("momentum", momentum)):
            if not isinstance(value, Policy) and not (name == "momentum" and value is None):
                raise TypeError(f"{name} must be a clr Policy; got {value!r}")
        self.policy, self.momentum = policy, momentum
        self._blocks: dict[str, tuple[int, list[float]]] = {}
        super().__init__(optimizer)  # sets the lr of iteration 0
        if iteration:
            self._go_to(iteration)

    def _value(self, which: str, policy: Policy) -> float:
        t = self.last_epoch
        start, block = self._blocks.get(which, (0, []))
        if not start <= t < start + len(block):
            start = t - t % _BLOCK
            stop = start + _BLOCK
            if policy.end is not None:
                stop = min(stop, max(policy.end, t) + 1)
            block = policy(np.arange(start, stop)).tolist()
            self._blocks[which] = start, block
        return block[t - start]

    def get_lr(self) -> list[float]:
        """The rates of the current iteration, one a parameter group."""
        if self.momentum is not None:
            value = self._value("momentum", self.momentum)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                else:
                    group["momentum"] = value
        lr = self._value("lr", self.policy)
        return [lr * group.get("lr_mult", 1.0) for group in self.optimizer.param_groups]

    _get_closed_form_lr = get_lr  # what torch calls for step(epoch)

    def _go_to(self, iteration: int):
        self.last_epoch = iteration - 1
        self._update_lr()

    def state_dict(self) -> dict:
        """`{"iteration": …, "policy": …, "momentum": …}`, JSON values only."""
        momentum = None if self.momentum is None else self.momentum.to_dict()
        return {
            "iteration": self.last_epoch,
            "policy": self.policy.to_dict(),
            "momentum": momentum,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on where `state_dict` was taken; the dict is left as it is."""
        for name in ("policy", "momentum"):
            saved, ours = state_dict[name], getattr(self, name)
            if (None if saved is None else policy_from_dict(saved)) != ours:
                raise ValueError(
                    f"{name} of the saved state is {saved}, this scheduler's is {ours}; "
                    "to go on under a new policy build PolicyLR(..., iteration=k)"
                )
        self._go_to(state_dict["iteration"])
        self._step_count = self.last_epoch + 1
