"""Training along a ramp: one row of the curve after another, until the end or a divergence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from clr.groups import set_value
from clr.policies import RangeRamp
from clr.range_test.batches import described

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


def leads() -> bool:
    """Whether this is the only process, or the first of several."""
    several = distributed.is_available() and distributed.is_initialized()
    return not several or distributed.get_rank() == 0


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """What `lr_range_test` was given to train and to test with.

    A group's lr is the rate times its share. All numbers are means over the processes that
    train the model together.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    shares: list[float]
    loss: Callable[[Any, Any], Tensor]
    metric: Callable[[Any, Any], float | Tensor] | None
    evaluate: Callable[[nn.Module], float] | None
    accumulate: int
    clip_grad_norm: float | None
    autocast: Any
    scaler: torch.amp.GradScaler | None

    def update(self, lr: float, batches: Iterator[tuple[Any, Any]]) -> list[float]:
        """Make an update at the rate `lr`: the means of [loss, metric] over its micro-batches.

        The metric is NaN without `metric`, and where it is `accuracy` and the outputs are not
        for classes.
        """
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            set_value(group, "lr", lr * share)
        self.model.zero_grad(set_to_none=True)  # also for parameters that the optimizer lacks
        numbers = []
        reusable = hasattr(type(self.autocast), "__enter__")
        for inputs, targets in itertools.islice(batches, self.accumulate):
            with self.autocast if reusable else self.autocast():
                keywords = isinstance(inputs, Mapping)
                outputs = self.model(**inputs) if keywords else self.model(inputs)
                loss = self.loss(outputs, targets)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise TypeError(
                    "loss must return a tensor of one number, such as the mean over the batch "
                    f"(reduction='mean'); got {described(loss)}"
                )
            scaled = loss / self.accumulate
            (scaled if self.scaler is None else self.scaler.scale(scaled)).backward()
            numbers.append([loss.item(), self._measured(outputs, targets)])
        if self.clip_grad_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return self._mean(np.mean(numbers, axis=0).tolist())

    def test(self) -> float:
        """`evaluate(model)` in eval mode; NaN without `evaluate`."""
        if self.evaluate is None:
            return math.nan
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                return self._mean([_number("evaluate", self.evaluate(self.model))])[0]
        finally:
            for module, mode in modes:
                module.training = mode

    def _measured(self, outputs: Any, targets: Any) -> float:
        if self.metric is None:
            return math.nan
        watched = outputs.detach() if isinstance(outputs, Tensor) else outputs
        try:
            with torch.no_grad():
                return _number("metric", self.metric(watched, targets))
        except (TypeError, ValueError):
            if self.metric is not accuracy:
                raise
            return math.nan

    def _mean(self, numbers: list[float]) -> list[float]:
        """The means of the numbers over the processes that train the model together."""
        groups = _groups(self.model)
        if not groups:
            return numbers
        device = next(self.model.parameters()).device
        sums = torch.tensor(numbers, dtype=torch.float64, device=device)
        for group in groups:
            distributed.all_reduce(sums, group=group)
            sums /= distributed.get_world_size(group)
        return sums.tolist()


def follow(
    policy: RangeRamp,
    trainer: Trainer,
    batches: Iterator[tuple[Any, Any]],
    every: int,
    divergence: float,
    done: Callable[[], object],
) -> tuple[pd.DataFrame, str]:
    """The curve of one ramp, and how it ended; `done` is called after each step.

    It ends early when a loss is not finite, or when at a row the mean of the last losses is
    above `divergence` times that of the first ones (or, if these are negative, as far above
    them). The means are over as many losses as a row has, but over `STEADY` at least.
    """
    rows = [[0, policy(0), math.nan, math.nan, trainer.test()]]
    numbers: list[list[float]] = []
    span = max(every, STEADY)
    ended = "finished"
    for t in range(policy.iterations):
        numbers.append(trainer.update(policy(t), batches))
        done()
        broken = not math.isfinite(numbers[-1][0])
        if (t + 1) % every == 0 or t + 1 == policy.iterations or broken:
            taken = t + 1 - int(rows[-1][0])
            means = np.mean(numbers[-taken:], axis=0)
            rows.append([t + 1, policy(t + 1), *means, trainer.test()])
            losses = [loss for loss, _ in numbers]
            first, last = np.mean(losses[:span]), np.mean(losses[-span:])
            broken |= t >= span and last - first > (divergence - 1.0) * abs(first) > 0
        if broken:
            ended = f"diverged at iteration {t + 1}"
            break
    return pd.DataFrame(rows, columns=COLUMNS), ended
