"""PyTorch's schedulers beside `PolicyLR`, in situations that many trainings meet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LRScheduler, OneCycleLR

from clr.policies import RangeRamp, Triangular2
from clr.scheduler import PolicyLR

STRANGE = 0.5  # the rate that the optimizers are made with; no schedule here reaches it
LATE = 5000  # a cycle
_Make = Callable[[Optimizer], LRScheduler]


def optimizer() -> Optimizer:
    """A new SGD optimizer of one weight, with a rate that its scheduler should replace."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=STRANGE)


def rates(scheduler: LRScheduler, n: int) -> np.ndarray:
    """The rates that the optimizer holds in the next `n` steps, which are made."""
    held = []
    for _ in range(n):
        held.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return np.array(held)


def _after(scheduler: LRScheduler, n: int, group: int = 0) -> float:
    """The rate of a parameter group after `n` steps."""
    rates(scheduler, n)
    return scheduler.optimizer.param_groups[group]["lr"]


def _second(make: _Make) -> float:
    """The first rate of an optimizer that had another schedule before."""
    used = optimizer()
    CosineAnnealingLR(used, 10)
    return _after(make(used), 0)


def _loaded(make: _Make, stepsize: int, times: int) -> float:
    """The first rate after the state of a training was loaded, perhaps more than once."""
    saved = make(optimizer())
    rates(saved, stepsize)
    state = saved.state_dict()
    for _ in range(times):
        scheduler = make(optimizer())
        scheduler.load_state_dict(state)
    return _after(scheduler, 0)


def _added(make: _Make, stepsize: int) -> float:
    """The rate of a parameter group that was added after the start."""
    scheduler = make(optimizer())
    weight = torch.nn.Parameter(torch.zeros(1))
    scheduler.optimizer.add_param_group({"params": [weight]})
    return _after(scheduler, stepsize, group=1)


def _late(make: _Make, stepsize: int) -> float:
    """The rate at the top of cycle `LATE`."""
    scheduler = make(optimizer())
    scheduler.last_epoch = (2 * LATE - 1) * stepsize - 1
    return _after(scheduler, 1)


def _answer(ask: Callable[..., float], *arguments: object) -> str:
    """What a question is answered with: a rate, or the name of an error."""
    try:
        return f"{ask(*arguments):.4g}"
    except Exception as error:
        return type(error).__name__


def trials(base_lr: float, max_lr: float, stepsize: int) -> pd.DataFrame:
    """The rates of both in each situation, as text: right, PyTorch's and `PolicyLR`'s.

    The schedule is triangular2, but the last situation has 1cycle and a ramp. The numbers in
    brackets are issues on PyTorch's GitHub page.
    """
    policy = Triangular2(base_lr, max_lr, stepsize)

    def theirs(optimizer: Optimizer) -> LRScheduler:
        mode = {"mode": policy.name, "cycle_momentum": False}
        return CyclicLR(optimizer, base_lr, max_lr, stepsize, **mode)

    def ours(optimizer: Optimizer) -> LRScheduler:
        return PolicyLR(optimizer, policy)

    peak = f"{max_lr:.4g}"
    late = f"{policy((2 * LATE - 1) * stepsize):.4g}"
    asked: dict[str, tuple[str, Callable[[_Make], float]]] = {
        "the optimizer had another schedule (#21965)": (f"{base_lr:.4g}", _second),
        "a new optimizer gets its saved state": (peak, lambda make: _loaded(make, stepsize, 1)),
        "the same state is loaded twice": (peak, lambda make: _loaded(make, stepsize, 2)),
        "a parameter group is added later": (peak, lambda make: _added(make, stepsize)),
        f"cycle {LATE:,} is reached (#52989)": (late, lambda make: _late(make, stepsize)),
    }
    found = {
        situation: (right, _answer(ask, theirs), _answer(ask, ours))
        for situation, (right, ask) in asked.items()
    }
    one = OneCycleLR(optimizer(), max_lr, 10, anneal_strategy="linear", cycle_momentum=False)
    ramp = PolicyLR(optimizer(), RangeRamp(0.0, max_lr, 10))
    past = _answer(_after, one, 10), _answer(_after, ramp, 11)
    found["one step too many is made (#91765)"] = ("an error", *past)
    return pd.DataFrame.from_dict(found, "index", columns=["right", "PyTorch", "PolicyLR"])
