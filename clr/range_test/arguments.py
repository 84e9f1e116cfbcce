"""Checks of the arguments of a range test, made before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import nn

from clr.policies import Policy, RangeRamp
from clr.range_test.batches import is_one_batch
from clr.range_test.described import described


def check_model(model: object, batches: object) -> None:
    """TypeError unless it is a module; says so if `batches` is the module."""
    if not isinstance(model, nn.Module):
        hint = ""
        if isinstance(batches, nn.Module):
            hint = "; batches is a module: the two arguments are swapped"
        raise TypeError(f"model must be a torch.nn.Module; got {described(model)}{hint}")


def check_batches(batches: object, has_unpack: bool) -> None:
    """TypeError unless it is an iterable of batches; with `unpack`, of anything."""
    if not isinstance(batches, Iterable):
        raise TypeError(
            "batches must be a loader, or another iterable of batches; "
            f"got {described(batches)}"
        )
    if is_one_batch(batches) and not (has_unpack and isinstance(batches, list)):
        raise TypeError(
            "batches must be a loader, or another iterable of batches; got what looks like one "
            f"batch, {described(batches)}: [(inputs, targets)] is a loader of one batch"
        )


def check_function(name: str, value: object) -> None:
    """TypeError unless it is a function or another callable, but not a class."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be a function or a callable; got {described(value)}")


def check_policy(policy: object) -> None:
    """TypeError or ValueError unless it is a ramp that can be followed to its end."""
    if not isinstance(policy, RangeRamp):
        hint = ""
        if isinstance(policy, type) and issubclass(policy, RangeRamp):
            hint = f": call it, for example {policy.__name__}(0.001, 1.0, iterations=1000)"
        elif isinstance(policy, type) and issubclass(policy, Policy):
            hint = ", which is another policy's class"
        elif isinstance(policy, torch.optim.Optimizer):
            hint = ": optimizer and policy are swapped"
        elif isinstance(policy, torch.optim.lr_scheduler.LRScheduler):
            hint = "; the test sets the rates itself and takes no scheduler"
        raise TypeError(f"policy must be a RangeRamp; got {described(policy)}{hint}")
    if policy.iterations < 2:
        raise ValueError(f"policy must have at least 2 iterations; got {policy}")
    if policy.past_end == "cycle":
        raise ValueError(f"policy must end at its highest rate, not start again; got {policy}")


def check_optimizer(optimizer: object, model: nn.Module) -> None:
    """TypeError or ValueError unless it steps without a closure, on the model's parameters."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer; got {described(optimizer)}"
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise TypeError(
            "optimizer must make a step without a closure, from the gradients of one batch; "
            f"got {type(optimizer).__name__}, whose step needs a closure"
        )
    own = {id(p) for p in model.parameters()}
    strange = sum(id(p) not in own for group in optimizer.param_groups for p in group["params"])
    if strange:
        raise ValueError(
            "optimizer must hold only the model's parameters; "
            f"{strange} of its tensors are others"
        )
