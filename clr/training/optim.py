"""The solvers as Caffe computes them.

The paper trained with Caffe. PyTorch's optimizer is used where its update is the same (AdaGrad,
RMSProp, AdaDelta: only the constants differ). The classes here are those whose update differs.
All take parameter groups with their own `lr` and `weight_decay`. The L2 decay is added to the
gradient first, as in Caffe and in PyTorch. Below, g is that gradient and w the weight.
"""

from __future__ import annotations

import math
from inspect import unwrap

import numpy as np
import torch
from torch.optim import Optimizer

from clr import checks
from clr.policies import Policy

DELTA = 1e-8  # Caffe's default `delta`
CHUNK = 2**20  # iterations of a policy that are checked at a time


class _Caffe(Optimizer):
    """The base of the classes below: adds the decay to the gradients, and creates the state."""

    state_names: tuple[str, ...] = ()

    # PyTorch wraps these methods in a function that imports PyTorch's compiler in order to
    # disable it for them. The import takes two seconds per process, and nothing here is
    # compiled, so the methods are unwrapped.
    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)

    def __init__(self, params, lr: float = 0.001, **defaults):
        super().__init__(params, {"lr": lr, "weight_decay": 0.0} | defaults)

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            gradients = [p.grad for p in weights]
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            for p in weights:
                if not self.state[p]:
                    for name in self.state_names:
                        self.state[p][name] = torch.zeros_like(p)
            state = [[self.state[p][name] for p in weights] for name in self.state_names]
            self._update(group, weights, gradients, *state)
        return loss


def _as(gradient: torch.Tensor, value):
    """A tensor (the rate on a GPU) in the gradient's precision; a number is not changed."""
    return value.to(gradient.dtype) if isinstance(value, torch.Tensor) else value


class SGD(_Caffe):
    """Caffe's SGD: `h = momentum * h + lr * g`, `w -= h`.

    PyTorch's SGD computes `b = momentum * b + g` and `w -= lr * b`. With a constant rate both
    are the same. When the rate changes, each gradient in Caffe's `h` keeps the rate of the
    iteration in which it was computed.
    """

    state_names = ("history",)

    def __init__(self, params, lr: float = 0.001, *, momentum: float = 0.0):
        super().__init__(params, lr, momentum=momentum)

    def _update(self, group, weights, gradients, history):
        lr, momentum = (_as(gradients[0], group[name]) for name in ("lr", "momentum"))
        torch._foreach_mul_(history, momentum)
        torch._foreach_add_(history, torch._foreach_mul(gradients, lr))
        torch._foreach_sub_(weights, history)


class Nesterov(SGD):
    """Caffe's Nesterov: `w -= (1 + momentum) * h' - momentum * h`.

    h' is the new h, as in `SGD`. PyTorch computes `w -= lr * (g + momentum * b')`: again the
    rate is outside the buffer.
    """

    def _update(self, group, weights, gradients, history):
        lr, momentum = (_as(gradients[0], group[name]) for name in ("lr", "momentum"))
        ahead = _as(gradients[0], 1 + group["momentum"])
        before = torch._foreach_mul(history, momentum)
        torch._foreach_copy_(history, before)
        torch._foreach_add_(history, torch._foreach_mul(gradients, lr))
        torch._foreach_sub_(weights, torch._foreach_mul(history, ahead))
        torch._foreach_add_(weights, before)


class Adam(_Caffe):
    """Caffe's Adam: `w -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + delta)`.

    PyTorch adds its epsilon after the bias correction of v, `sqrt(v / (1 - b2**t)) + eps`; at
    the first iterations Caffe's `delta` therefore weighs up to 30 times more.
    """

    state_names = ("m", "v")

    def __init__(self, params, lr: float = 0.001, *, betas=(0.9, 0.999), delta: float = DELTA):
        super().__init__(params, lr, betas=betas, delta=delta, iteration=0)

    def _update(self, group, weights, gradients, m, v):
        (b1, b2), group["iteration"] = group["betas"], group["iteration"] + 1
        t = group["iteration"]
        torch._foreach_lerp_(m, gradients, 1 - b1)
        torch._foreach_mul_(v, b2)
        torch._foreach_addcmul_(v, gradients, gradients, 1 - b2)
        root = torch._foreach_sqrt(v)
        torch._foreach_add_(root, group["delta"])
        update = torch._foreach_div(m, root)
        torch._foreach_mul_(update, group["lr"] * (math.sqrt(1 - b2**t) / (1 - b1**t)))
        torch._foreach_sub_(weights, update)


def build(name: str, groups: list[dict], momentum: float) -> Optimizer:
    """The optimizer `name` of NAMES, with the update of Caffe's solver of that name.

    `momentum` is b1 for Adam and the decay for AdaDelta, and is not used by AdaGrad and
    RMSProp (Caffe refuses it there). The scheduler sets the rate. "torch_sgd" and "adamw" are
    PyTorch's; AdamW has b2 = 0.95, as is usual for language models.
    """
    return NAMES[checks.one_of("optimizer", name, NAMES)](groups, momentum)


def check_momentum_policy(name: str, policy: Policy, iterations: int) -> None:
    """ValueError unless that optimizer can take its momentum from `policy` to the end."""
    if name not in WITH_MOMENTUM:
        raise ValueError(f"momentum_policy must be None for {name}; got {policy!r}")
    for start in range(0, iterations + 1, CHUNK):
        values = policy(np.arange(start, min(start + CHUNK, iterations + 1)))
        for i in (values.argmin(), values.argmax()):  # both find the first NaN, if any
            checks.momentum(f"momentum_policy at iteration {start + i}", float(values[i]))


WITH_MOMENTUM = ("sgd", "nesterov", "adam", "adamw", "torch_sgd")

NAMES = {
    "sgd": lambda groups, momentum: SGD(groups, momentum=momentum),
    "nesterov": lambda groups, momentum: Nesterov(groups, momentum=momentum),
    "adagrad": lambda groups, momentum: torch.optim.Adagrad(groups, eps=DELTA),
    "rmsprop": lambda groups, momentum: torch.optim.RMSprop(groups, alpha=0.99, eps=DELTA),
    "adadelta": lambda groups, momentum: torch.optim.Adadelta(groups, rho=momentum, eps=DELTA),
    "adam": lambda groups, momentum: Adam(groups, betas=(momentum, 0.999)),
    "torch_sgd": lambda groups, momentum: torch.optim.SGD(groups, lr=0.0, momentum=momentum),
    "adamw": lambda groups, momentum: torch.optim.AdamW(groups, betas=(momentum, 0.95)),
}
