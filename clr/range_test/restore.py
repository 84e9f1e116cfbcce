"""`with restored(model, …):` at the end, everything is as it was before."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clr.range_test.loader import kept, of_attributes

_WRAPPERS = ("torch.nn.parallel", "torch.distributed", "torch._dynamo")  # set up at first use


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
    and the other attributes of every module; the optimizer's groups and state, also those of
    optimizers that it wraps; the scaler; Python's, numpy's, torch's and CUDA's random states;
    and what the next pass over `batches` depends on (see `clr.range_test.loader.kept`). Of the
    objects in attributes, only lists, dictionaries, sets and tensors get their content back.

    Needs memory for a second copy of all tensors except the gradients, which are None at the
    beginning of the block. The copies lie on the device `restore_to`, such as "cpu", or each on
    its tensor's own device.
    """
    undo = [*_of_model(model, restore_to), *_of_random_states()]
    if optimizer is not None:
        undo += _of_optimizer(optimizer, restore_to)
    if scaler is not None:
        undo += of_attributes(scaler)
        undo.append(partial(scaler.load_state_dict, copy.deepcopy(scaler.state_dict())))
    undo += kept(batches)
    with _all_done(undo):
        for parameter in model.parameters():
            parameter.grad = None  # what happens inside does not touch the tensor of before
        yield


def first_of(batches: Iterable) -> Any:
    """The first batch of the next pass, which is left as if it had not been asked for."""
    with _all_done([*_of_random_states(), *kept(batches)]):
        return next(iter(batches), None)


def _all_done(actions: Sequence[Callable[[], Any]]) -> contextlib.ExitStack:
    """A context that ends with all these actions in their order, also if one of them fails."""
    stack = contextlib.ExitStack()
    for action in reversed(actions):
        stack.callback(action)
    return stack


def _kept(value: Any, device: torch.device | str | None) -> Callable[[], Any]:
    """A function that returns `value` as it is now: the tensor, refilled, or else a copy."""
    if isinstance(value, dict):
        fill = _dictionary(value, device)
        return lambda: (fill(), value)[1]
    if not isinstance(value, Tensor):
        saved = copy.deepcopy(value)
        return lambda: saved
    content = value.detach().to(device or value.device, copy=True)

    def back() -> Tensor:
        with torch.no_grad():
            if value.shape == content.shape and not _overlaps(value):
                value.copy_(content)
            else:  # it was resized, or cannot be written to
                value.data = content.to(value.device)
        return value

    return back


def _overlaps(value: Tensor) -> bool:
    """Whether elements of a tensor share memory, as in one that was expanded."""
    if value.layout != torch.strided:
        return False
    sizes = zip(value.shape, value.stride(), strict=True)
    return any(stride == 0 and size > 1 for size, stride in sizes)


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
        if type(module).__module__.startswith(_WRAPPERS):
            yield partial(setattr, module, "training", module.training)
        else:
            yield from of_attributes(module)
            yield from (
                _kept(v, device) for v in vars(module).values() if isinstance(v, Tensor)
            )
        yield _dictionary(module._parameters, device)
        yield _dictionary(module._buffers, device)
    for parameter in model.parameters():
        yield partial(setattr, parameter, "grad", parameter.grad)
        yield partial(parameter.requires_grad_, parameter.requires_grad)


def _of_optimizer(
    optimizer: torch.optim.Optimizer, device: torch.device | str | None
) -> Iterator[Callable[[], Any]]:
    yield from of_attributes(optimizer)
    wrapped = [o for o in vars(optimizer).values() if isinstance(o, torch.optim.Optimizer)]
    for inner in wrapped:
        yield from _of_optimizer(inner, device)
    if not any(inner.state is optimizer.state for inner in wrapped):
        for group in optimizer.param_groups:
            yield _dictionary(group, device, skip=("params",))
        yield _dictionary(optimizer.state, device)


def _of_random_states() -> Iterator[Callable[[], Any]]:
    yield partial(random.setstate, random.getstate())
    yield partial(np.random.set_state, np.random.get_state())
    yield partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available():
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
