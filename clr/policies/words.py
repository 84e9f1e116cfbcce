"""The arguments of PyTorch's `CyclicLR` and `OneCycleLR`, and what replaces them here."""

from __future__ import annotations

import inspect
from typing import Any, Self

_CLASSES = (
    "each mode is a class of its own: Triangular, Triangular2, and ExpRangeAmplitude for "
    "PyTorch's exp_range (ExpRange is the paper's)"
)
_POLICYS = (
    "it is an argument of a policy, as in "
    "PolicyLR(optimizer, Triangular(base_lr=0.001, max_lr=0.006, stepsize=2000))"
)
_MOMENTUM = (
    "the momentum has a policy of its own, as in "
    "PolicyLR(optimizer, policy, momentum=CyclicalMomentum(0.8, 0.9, policy))"
)
_STEPSIZE = "write stepsize, as in Triangular(base_lr=0.001, max_lr=0.006, stepsize=2000)"
_LENGTH = "write stepsize, the iterations in half a cycle"
_END = "OneCycle ends at 0, then base_lr / 1000"
_ADVICE = {
    "lr": "write base_lr, an argument of the policy",
    "base_lr": _POLICYS,
    "max_lr": _POLICYS,
    "stepsize": _POLICYS,
    "step_size": _STEPSIZE,
    "step_size_up": _STEPSIZE,
    "step_size_down": (
        "write stepsize_down, as in Triangular(0.001, 0.006, stepsize=2000, stepsize_down=4000)"
    ),
    "mode": _CLASSES,
    "scale_fn": f"{_CLASSES}; for any other write a Policy class",
    "scale_mode": _CLASSES,
    "cycle_momentum": _MOMENTUM,
    "base_momentum": _MOMENTUM,
    "max_momentum": _MOMENTUM,
    "last_epoch": "it is an argument of PolicyLR",
    "total_steps": _LENGTH,
    "epochs": _LENGTH,
    "steps_per_epoch": _LENGTH,
    "pct_start": "OneCycle rises and falls in stepsize iterations each",
    "div_factor": "write base_lr, the rate at the start",
    "final_div_factor": _END,
    "three_phase": _END,
    "anneal_strategy": "write wave, which Triangular and Decay have",
    "milestones": "write drops, which Step has",
}


class NamesOurArguments:
    """Base of a class whose constructor refuses PyTorch's argument names and suggests ours.

    Raises TypeError for such an argument, unless the class also has one of that name.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A new instance; TypeError for an argument that has only PyTorch's name."""
        if theirs := [name for name in kwargs if name in _ADVICE]:
            ours = inspect.signature(cls.__init__).parameters
            for name in theirs:
                if name not in ours:
                    raise TypeError(f"{cls.__name__} has no argument {name!r}: {_ADVICE[name]}")
        return super().__new__(cls)
