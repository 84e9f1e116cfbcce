"""`with restored(model, …):` at the end, everything is as it was before."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Container, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


@contextlib.contextmanager
def restored(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scaler: torch.amp.GradScaler | None = None,
    batches: object = None,
) -> Iterator[None]:
    """Restores the following in place, also after an error:

    parameters, gradients and buffers; which parameters require gradients; train or eval mode
    of every module; the optimizer's groups and state; the scaler; Python's, numpy's, torch's
    and CUDA's random states; the generator and the persistent workers of a DataLoader, and the
    position of batches that have a `state_dict`. Needs memory for a second copy of all tensors
    except the gradients, which are None at the beginning of the block.
    """
    undo = [*_of_model(model), *_of_random_states(batches)]
    if optimizer is not None:
        undo += _of_optimizer(optimizer)
    for each in (scaler, batches):
        if hasattr(each, "load_state_dict") and hasattr(each, "state_dict"):
            undo.append(_call(each.load_state_dict, copy.deepcopy(each.state_dict())))
    undo += _of_workers(batches)
    try:
        for parameter in model.parameters():
            parameter.grad = None  # what happens inside does not touch the tensor of before
        yield
    finally:
        for action in undo:
            action()


def _call(function: Callable, *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)


def _kept(value: Any) -> Callable[[], Any]:
    """A function that returns `value` as it is now: the tensor, refilled, or else a copy."""
    if not isinstance(value, Tensor):
        saved = copy.deepcopy(value)
        return lambda: saved
    content = value.detach().clone()

    def back() -> Tensor:
        with torch.no_grad():
            value.copy_(content)
        return value

    return back


def _dictionary(values: dict, skip: Container[str] = ()) -> Callable[[], None]:
    """A function that restores the keys and values that a dictionary has now."""
    saved = {k: _kept(v) for k, v in values.items() if k not in skip}

    def back() -> None:
        for key in [k for k in values if k not in saved and k not in skip]:
            del values[key]
        values.update({k: value() for k, value in saved.items()})

    return back


def _of_model(model: nn.Module) -> Iterator[Callable[[], Any]]:
    for module in model.modules():
        yield _call(setattr, module, "training", module.training)
        yield _dictionary(module._parameters)
        yield _dictionary(module._buffers)
    for parameter in model.parameters():
        yield _call(setattr, parameter, "grad", parameter.grad)
        yield _call(parameter.requires_grad_, parameter.requires_grad)


def _of_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[Callable[[], Any]]:
    for group in optimizer.param_groups:
        yield _dictionary(group, skip=("params",))
    states = {p: (state, _dictionary(state)) for p, state in optimizer.state.items()}

    def back() -> None:
        optimizer.state.clear()
        for p, (state, fill) in states.items():
            fill()
            optimizer.state[p] = state

    yield back


def _of_random_states(batches: object) -> Iterator[Callable[[], Any]]:
    yield _call(random.setstate, random.getstate())
    yield _call(np.random.set_state, np.random.get_state())
    yield _call(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available():
        yield _call(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    for generator in generators(batches):
        yield _call(generator.set_state, generator.get_state())


def _of_workers(batches: object) -> Iterator[Callable[[], Any]]:
    """Set the loader's persistent workers aside, so that the code inside starts new ones.

    The workers thus keep their random states, and the loader keeps its position in a pass.
    """
    if isinstance(batches, DataLoader) and batches.persistent_workers:
        yield _call(setattr, batches, "_iterator", batches._iterator)
        batches._iterator = None


def generators(batches: object) -> set[torch.Generator]:
    """Torch's random generators in a DataLoader, its sampler and its batch sampler."""
    batch_sampler = getattr(batches, "batch_sampler", None)
    inside = [batches, getattr(batches, "sampler", None)]
    inside += [batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = {getattr(each, "generator", None) for each in inside}
    return {each for each in found if isinstance(each, torch.Generator)}
