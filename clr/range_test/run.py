"""The run of an LR range test, and its curves."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from clr import checks
from clr.policies import RangeRamp
from clr.range_test.batches import described, endless, outputs_of, pair
from clr.range_test.bounds import Bounds, read
from clr.range_test.figure import draw
from clr.range_test.restore import generators, restored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ["iteration", "lr", "train_loss", "train_accuracy", "test_accuracy"]


def accuracy(outputs: Any, targets: Any) -> float:
    """The share of rows of `outputs` (N, classes) whose largest value is at `targets` (N,).

    TypeError or ValueError for other shapes and for targets that are not whole numbers.
    """
    rule = (
        "metric must be given, a function of outputs and targets: the default, accuracy, is "
        "for outputs of shape (N, classes), two classes or more, and whole numbers of shape "
        f"(N,) as targets; got {described(outputs)} and {described(targets)}"
    )
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise TypeError(rule)
    matching = outputs.ndim == 2 and outputs.shape[1] > 1 and targets.shape == outputs.shape[:1]
    if not matching or targets.dtype == torch.bool or targets.is_floating_point():
        raise ValueError(rule)
    return (outputs.argmax(1) == targets).float().mean().item()


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The curves of a range test, one per seed, and how each ended.

    A curve's columns: iteration (steps taken), lr (of the step that comes next), train_loss and
    train_accuracy (means over the steps since the row before), test_accuracy (NaN without
    `evaluate`). `ended` is "finished" or "diverged at iteration N".
    """

    curves: list[pd.DataFrame]
    ended: list[str]

    @classmethod
    def from_runs(cls, runs: Sequence) -> RangeTest:
        """The range test that consists of these runs of a `RangeRamp`, one per seed."""
        if not runs:
            raise ValueError("runs must hold at least one run; got none")
        return cls([run.history for run in runs], [run.ended for run in runs])

    def column(self, name: str) -> pd.DataFrame:
        """One column of all the curves side by side, by lr; NaN where a run had ended."""
        return pd.concat(
            [curve.set_index("lr")[name].rename(i) for i, curve in enumerate(self.curves)],
            axis=1,
        ).sort_index()

    @property
    def watched(self) -> str:
        """The column that is read: test accuracy if there is one, else train accuracy."""
        tested = any(curve["test_accuracy"].notna().any() for curve in self.curves)
        return "test_accuracy" if tested else "train_accuracy"

    def bounds(self, method: str = "accuracy") -> Bounds:
        """base_lr and max_lr: each seed's own, read off its curve, and their medians.

        They are roughly proportional to one over the square root of the ramp's length, and are
        meant for half cycles of about that length. A run of fewer than 100 iterations is not
        read.

        `method` is one of `clr.range_test.METHODS`; ValueError otherwise.
        """
        return read(self.curves, self.ended, self.watched, method)

    def plot(self, bounds: Bounds | None = None, *, ax: Axes | None = None) -> Axes:
        """Plot the accuracy against the rate: a thin line per seed, and their median.

        If `bounds` were read off the loss, the loss is plotted. A cross marks the last test of
        a seed that diverged. Each bound is a point on the smoothed median with a line down from
        it, and the bounds of the single seeds are ticks on the axis. Draws on `ax` or on a new
        figure, and returns the axes.
        """
        return draw(self.column, self.watched, self.ended, bounds, ax)


def lr_range_test(
    model: nn.Module,
    batches: Iterable,
    *,
    loss: Callable[[Any, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    policy: RangeRamp,
    evaluate: Callable[[nn.Module], float] | None = None,
    metric: Callable[[Any, Any], float | Tensor] = accuracy,
    unpack: Callable[[Any], tuple[Any, Any]] = pair,
    every: int | None = None,
    accumulate: int = 1,
    autocast: Callable[[], contextlib.AbstractContextManager]
    | contextlib.AbstractContextManager = contextlib.nullcontext,
    scaler: torch.amp.GradScaler | None = None,
    seeds: Sequence[int] | None = None,
    reset: Callable[[nn.Module], object] | None = None,
    divergence: float = 4.0,
) -> RangeTest:
    """Train with a rising rate and record loss and accuracy; then restore everything.

    `batches` yields (inputs, targets) again and again, as a DataLoader does. For batches of any
    other form, `unpack(batch)` returns such a pair. Inputs that are a dict are given to the
    model as keyword arguments, any others as its one argument. What the model returns goes to
    `loss(outputs, targets)` and `metric(outputs, targets)` unchanged, whether it is a tensor, a
    tuple, a dict or an object. A Hugging Face model whose batches are dicts with their labels:

        unpack=lambda batch: (batch, batch["labels"]),
        loss=lambda outputs, labels: outputs.loss,
        metric=lambda outputs, labels: accuracy(outputs.logits, labels),

    `loss` returns the mean over a batch. `metric` is called without gradients. It must rise by
    more than 0.05 in all while the model gets better, as a share of correct answers does. The
    default is `accuracy`, for classes. For a regression use R²; for several labels per input
    use the share of correct labels.

    `policy` is the rate of the first parameter group whose lr is not 0. The other groups keep
    their ratio to it (or have `lr_mult`); a group whose lr is 0 stays at 0. If a scheduler has
    set the lr to 0, as a warm-up does at its start, the group's `initial_lr` is used instead.

    A row is written every `every` steps (default: a hundredth of the ramp). It holds the means
    of `metric` and of `loss`, and the result of `evaluate(model)`, which is called in eval mode
    without gradients. A step takes `accumulate` batches. `autocast` is the context of the
    forward pass: a context manager that can be entered again, or a function that makes one.
    `scaler` scales the loss.

    With `seeds` (below 2**32) there is one run per seed. Each run sets the random states of
    Python, numpy and torch, and a loader's own generators (`clr.training.batches.Batches` has
    its own seed, and draws the same batches in each run). `reset(model)` may then draw new
    weights; without it the runs differ only in their batches.

    If all modules of the model are in eval mode, it trains in train mode. Otherwise each module
    keeps its mode, so that a batch normalization in eval mode stays in eval mode.

    A run ends early when the loss is not finite, or when its mean since the last row is above
    `divergence` times that of the first row (if that is positive). Parameters, gradients,
    buffers, modes, optimizer, scaler, random states, and a loader's generators, persistent
    workers and position are restored, also after an error or Ctrl-C. Raises ValueError or
    TypeError, naming the argument, for invalid arguments.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {described(model)}")
    given = {
        "loss": loss,
        "metric": metric,
        "unpack": unpack,
        "evaluate": evaluate,
        "reset": reset,
    }
    for name, each in given.items():
        optional = name in ("evaluate", "reset") and each is None
        if not optional and (not callable(each) or isinstance(each, type)):
            raise TypeError(f"{name} must be a function; got {described(each)}")
    if not isinstance(policy, RangeRamp):
        raise TypeError(f"policy must be a RangeRamp; got {described(policy)}")
    if policy.iterations < 2 or policy.past_end == "cycle":
        raise ValueError(
            "policy must have at least 2 iterations and not start again (past_end='cycle'); "
            f"got {policy}"
        )
    every = max(1, policy.iterations // 100) if every is None else checks.whole("every", every)
    accumulate = checks.whole("accumulate", accumulate)
    divergence = checks.real("divergence", divergence, 1.0, math.inf, "at least 1")
    numbers: list[int | None] = [None]
    if seeds is not None:  # numpy's seeds end at 2**32 - 1
        numbers = [checks.whole("seeds", seed, low=0, high=2**32 - 1) for seed in seeds]
    if not numbers:
        raise ValueError("seeds must hold at least one seed; got none")
    set_rate = _rates_of(optimizer, model)
    device = next(model.parameters()).device
    tests = _tests(model, evaluate)
    curves, ended = [], []
    for seed in numbers:
        with restored(model, optimizer, scaler, batches):
            if seed is not None:
                random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
                for generator in generators(batches):
                    generator.manual_seed(seed)
            if reset is not None:
                reset(model)
            if not any(module.training for module in model.modules()):
                model.train()
            micro = endless(batches, unpack, device)
            updates = _updates(
                model, micro, loss, metric, optimizer, accumulate, autocast, scaler
            )
            curve, end = _follow(policy, set_rate, updates, tests, every, divergence)
        curves.append(curve)
        ended.append(end)
    return RangeTest(curves, ended)


def _rates_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> Callable[[float], None]:
    """A function that sets the rate of each group, which keeps its share of the first rate.

    A group's share is its `lr_mult`, or its rate divided by the first rate that is not 0.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer; got {described(optimizer)}"
        )
    groups, own = optimizer.param_groups, {id(p) for p in model.parameters()}
    if strange := sum(id(p) not in own for group in groups for p in group["params"]):
        raise ValueError(
            "optimizer must hold only the model's parameters; "
            f"{strange} of its tensors are others"
        )
    rates = [float(group["lr"]) or float(group.get("initial_lr", 0.0)) for group in groups]
    if len(groups) == 1 and not rates[0]:  # no ratio to keep
        rates = [1.0]
    first = next((rate for rate in rates if rate), None)
    if first is None and not all("lr_mult" in group for group in groups):
        raise ValueError(
            f"optimizer must have a parameter group with an lr above 0, as the lr of a group "
            f"says its ratio to the others; all of its {len(groups)} are 0"
        )
    shares = [
        float(group.get("lr_mult", rate / (first or 1.0)))
        for group, rate in zip(groups, rates, strict=True)
    ]

    def set_rate(lr: float) -> None:
        for group, share in zip(groups, shares, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr * share)
            else:
                group["lr"] = lr * share

    return set_rate


def _number(name: str, value: Any) -> float:
    """What the function called `name` returned, as a float; TypeError if it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must return one number; got {described(value)}") from None


def _updates(
    model: nn.Module,
    batches: Iterator[tuple[Any, Any]],
    loss: Callable[[Any, Any], Tensor],
    metric: Callable[[Any, Any], float | Tensor],
    optimizer: torch.optim.Optimizer,
    accumulate: int,
    autocast: Any,
    scaler: torch.amp.GradScaler | None,
) -> Iterator[tuple[float, float]]:
    """Make an update whenever it is asked for one: (loss, metric), means over micro-batches."""
    reusable = hasattr(type(autocast), "__enter__")  # torch.autocast(…) is callable as well
    while True:
        model.zero_grad(set_to_none=True)  # also for parameters that the optimizer lacks
        losses, metrics = [], []
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
            losses.append(value.item())
            with torch.no_grad():
                watched = outputs.detach() if isinstance(outputs, Tensor) else outputs
                metrics.append(_number("metric", metric(watched, targets)))
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        yield float(np.mean(losses)), float(np.mean(metrics))


def _tests(
    model: nn.Module, evaluate: Callable[[nn.Module], float] | None
) -> Callable[[], float]:
    """A function that gives `evaluate(model)` in eval mode; NaN without `evaluate`."""

    def test() -> float:
        if evaluate is None:
            return math.nan
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            with torch.no_grad():
                return _number("evaluate", evaluate(model))
        finally:
            for module, mode in modes:
                module.training = mode

    return test


def _follow(
    policy: RangeRamp,
    set_rate: Callable[[float], None],
    updates: Iterator[tuple[float, float]],
    test: Callable[[], float],
    every: int,
    divergence: float,
) -> tuple[pd.DataFrame, str]:
    """The curve of one ramp, and how it ended."""
    rows = [[0, policy(0), math.nan, math.nan, test()]]
    since: list[tuple[float, float]] = []
    ended = "finished"
    for t in range(policy.iterations):
        set_rate(policy(t))
        since.append(next(updates))
        broken = not math.isfinite(since[-1][0])
        if (t + 1) % every == 0 or t + 1 == policy.iterations or broken:
            loss, share = np.mean(since, axis=0)
            rows.append([t + 1, policy(t + 1), loss, share, test()])
            since = []
            first = rows[1][2]
            broken |= len(rows) > 2 and first > 0 and loss > divergence * first
        if broken:
            ended = f"diverged at iteration {t + 1}"
            break
    return pd.DataFrame(rows, columns=COLUMNS), ended
