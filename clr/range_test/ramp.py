"""Training along a ramp: one row of the curve after another, until the end or a divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from clr.policies import RangeRamp
from clr.range_test.batches import described, outputs_of

STEADY = 5  # losses whose mean is compared, so that a single batch makes no divergence
COLUMNS = ["iteration", "lr", "train_loss", "train_accuracy", "test_accuracy"]


def accuracy(outputs: Any, targets: Any) -> float:
    """The share of rows of `outputs` (N, classes) whose largest value is at `targets` (N,).

    TypeError or ValueError for other shapes and for targets that are not whole numbers.
    """
    rule = (
        "accuracy is for outputs of shape (N, classes), two classes or more, and whole numbers "
        f"of shape (N,) as targets; got {described(outputs)} and {described(targets)}"
    )
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise TypeError(rule)
    matching = outputs.ndim == 2 and outputs.shape[1] > 1 and targets.shape == outputs.shape[:1]
    if not matching or targets.dtype == torch.bool or targets.is_floating_point():
        raise ValueError(rule)
    return (outputs.argmax(1) == targets).float().mean().item()


def _number(name: str, value: Any) -> float:
    """What the function called `name` returned, as a float; TypeError if it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must return one number; got {described(value)}") from None


def _groups(model: nn.Module) -> list[Any]:
    """The groups of processes that train this model together; none if one process does."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return []
    from torch.distributed.fsdp import FullyShardedDataParallel

    for module in model.modules():
        if isinstance(module, DistributedDataParallel | FullyShardedDataParallel):
            return [module.process_group]
    for parameter in model.parameters():
        if hasattr(parameter, "device_mesh"):  # a DTensor, as fully_shard makes them
            return parameter.device_mesh.get_all_groups()
    return []


def mean_over_processes(model: nn.Module) -> Callable[[list[float]], list[float]]:
    """A function that gives the means of some numbers over the processes that train `model`."""
    groups, device = _groups(model), next(model.parameters()).device

    def mean(numbers: list[float]) -> list[float]:
        if not groups:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64, device=device)
        for group in groups:
            distributed.all_reduce(sums, group=group)
            sums /= distributed.get_world_size(group)
        return sums.tolist()

    return mean


def leads() -> bool:
    """Whether this is the only process, or the first of several."""
    several = distributed.is_available() and distributed.is_initialized()
    return not several or distributed.get_rank() == 0


def updates(
    model: nn.Module,
    batches: Iterator[tuple[Any, Any]],
    *,
    loss: Callable[[Any, Any], Tensor],
    metric: Callable[[Any, Any], float | Tensor] | None,
    optimizer: torch.optim.Optimizer,
    accumulate: int,
    clip_grad_norm: float | None,
    autocast: Any,
    scaler: torch.amp.GradScaler | None,
) -> Iterator[list[float]]:
    """Make an update whenever it is asked for one: [loss, metric].

    Both are means over the micro-batches and over the processes that train together. The metric
    is NaN without `metric`, and where it is `accuracy` and the outputs are not for classes.
    """
    mean, reusable = mean_over_processes(model), hasattr(type(autocast), "__enter__")

    def measured(outputs: Any, targets: Any) -> float:
        if metric is None:
            return math.nan
        watched = outputs.detach() if isinstance(outputs, Tensor) else outputs
        try:
            with torch.no_grad():
                return _number("metric", metric(watched, targets))
        except (TypeError, ValueError):
            if metric is not accuracy:
                raise
            return math.nan

    while True:
        model.zero_grad(set_to_none=True)  # also for parameters that the optimizer lacks
        numbers = []
        for _ in range(accumulate):
            inputs, targets = next(batches)
            with autocast if reusable else autocast():
                outputs = outputs_of(model, inputs)
                value = loss(outputs, targets)
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise TypeError(
                    "loss must return a tensor of one number, such as the mean over the batch "
                    f"(reduction='mean'); got {described(value)}"
                )
            scaled = value / accumulate
            (scaled if scaler is None else scaler.scale(scaled)).backward()
            numbers.append([value.item(), measured(outputs, targets)])
        if clip_grad_norm is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        yield mean(np.mean(numbers, axis=0).tolist())


def tests(
    model: nn.Module, evaluate: Callable[[nn.Module], float] | None
) -> Callable[[], float]:
    """A function that gives `evaluate(model)` in eval mode; NaN without `evaluate`.

    It is the mean over the processes that train together.
    """
    mean = mean_over_processes(model)

    def test() -> float:
        if evaluate is None:
            return math.nan
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            with torch.no_grad():
                return mean([_number("evaluate", evaluate(model))])[0]
        finally:
            for module, mode in modes:
                module.training = mode

    return test


def follow(
    policy: RangeRamp,
    set_rate: Callable[[float], None],
    steps: Iterator[list[float]],
    test: Callable[[], float],
    every: int,
    divergence: float,
    done: Callable[[], object],
) -> tuple[pd.DataFrame, str]:
    """The curve of one ramp, and how it ended; `done` is called after each step.

    It ends early when a loss is not finite, or when at a row the mean of the last losses is
    above `divergence` times that of the first ones (or, if these are negative, as far above
    them). The means are over as many losses as a row has, but over `STEADY` at least.
    """
    rows = [[0, policy(0), math.nan, math.nan, test()]]
    numbers: list[list[float]] = []
    span = max(every, STEADY)
    ended = "finished"
    for t in range(policy.iterations):
        set_rate(policy(t))
        numbers.append(next(steps))
        done()
        broken = not math.isfinite(numbers[-1][0])
        if (t + 1) % every == 0 or t + 1 == policy.iterations or broken:
            taken = t + 1 - int(rows[-1][0])
            rows.append([t + 1, policy(t + 1), *np.mean(numbers[-taken:], axis=0), test()])
            first, last = (
                np.mean(each, axis=0)[0] for each in (numbers[:span], numbers[-span:])
            )
            broken |= t >= span and last - first > (divergence - 1.0) * abs(first) > 0
        if broken:
            ended = f"diverged at iteration {t + 1}"
            break
    return pd.DataFrame(rows, columns=COLUMNS), ended
