"""`with restored(model, …):` at the end, everything is as it was before."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clr.range_test.loader import kept


@contextlib.contextmanager
def restored(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scaler: torch.amp.GradScaler | None = None,
    batches: object = None,
    *,
    restore_to: torch.device | str | None = None,
) -> Iterator[None]:
    """Restores the following in place, also after an error:

    parameters, gradients and buffers; which parameters require gradients; train or eval mode
    of every module; the optimizer's groups and state; the scaler; Python's, numpy's, torch's
    and CUDA's random states; and what the next pass over `batches` depends on (see
    `clr.range_test.loader.kept`).

    Needs memory for a second copy of all tensors except the gradients, which are None at the
    beginning of the block. The copies lie on the device `restore_to`, such as "cpu", or each on
    its tensor's own device.
    """
    undo = [*_of_model(model, restore_to), *_of_random_states()]
    if optimizer is not None:
        undo += _of_optimizer(optimizer, restore_to)
    if scaler is not None:
        undo.append(partial(scaler.load_state_dict, copy.deepcopy(scaler.state_dict())))
    undo += kept(batches)
    try:
        for parameter in model.parameters():
            parameter.grad = None  # what happens inside does not touch the tensor of before
        yield
    finally:
        for action in undo:
            action()


def first_of(batches: Iterable) -> Any:
    """The first batch of the next pass, which is left as if it had not been asked for."""
    undo = [*_of_random_states(), *kept(batches)]
    try:
        return next(iter(batches), None)
    finally:
        for action in undo:
            action()


def _kept(value: Any, device: torch.device | str | None) -> Callable[[], Any]:
    """A function that returns `value` as it is now: the tensor, refilled, or else a copy."""
    if not isinstance(value, Tensor):
        saved = copy.deepcopy(value)
        return lambda: saved
    content = value.detach().to(device or value.device, copy=True)

    def back() -> Tensor:
        with torch.no_grad():
            value.copy_(content)
        return value

    return back


def _dictionary(
    values: dict, device: torch.device | str | None, skip: Container[str] = ()
) -> Callable[[], None]:
    """A function that restores the keys and values that a dictionary has now."""
    saved = {k: _kept(v, device) for k, v in values.items() if k not in skip}

    def back() -> None:
        for key in [k for k in values if k not in saved and k not in skip]:
            del values[key]
        values.update({k: value() for k, value in saved.items()})

    return back


def _of_model(
    model: nn.Module, device: torch.device | str | None
) -> Iterator[Callable[[], Any]]:
    for module in model.modules():
        yield partial(setattr, module, "training", module.training)
        yield _dictionary(module._parameters, device)
        yield _dictionary(module._buffers, device)
    for parameter in model.parameters():
        yield partial(setattr, parameter, "grad", parameter.grad)
        yield partial(parameter.requires_grad_, parameter.requires_grad)


def _of_optimizer(
    optimizer: torch.optim.Optimizer, device: torch.device | str | None
) -> Iterator[Callable[[], Any]]:
    for group in optimizer.param_groups:
        yield _dictionary(group, device, skip=("params",))
    states = {p: (state, _dictionary(state, device)) for p, state in optimizer.state.items()}

    def back() -> None:
        optimizer.state.clear()
        for p, (state, fill) in states.items():
            fill()
            optimizer.state[p] = state

    yield back


def _of_random_states() -> Iterator[Callable[[], Any]]:
    yield partial(random.setstate, random.getstate())
    yield partial(np.random.set_state, np.random.get_state())
    yield partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available():
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
