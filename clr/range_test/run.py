"""The run of an LR range test, and its curves."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from clr import checks
from clr.policies import RangeRamp
from clr.range_test.bounds import Bounds, read
from clr.range_test.figure import draw
from clr.range_test.restore import generators, restored

COLUMNS = ["iteration", "lr", "train_loss", "train_accuracy", "test_accuracy"]


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of the rows of `outputs`, (N, classes), whose largest is at `targets`, (N,)."""
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
        """The range test that runs of a `RangeRamp`, one per seed, amount to."""
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
        """The accuracy that is read: held-out if there is one."""
        tested = any(curve["test_accuracy"].notna().any() for curve in self.curves)
        return "test_accuracy" if tested else "train_accuracy"

    def bounds(self, method: str = "accuracy") -> Bounds:
        """base_lr and max_lr: each seed's own, read off its curve, and their medians.

        `method` is one of `clr.range_test.METHODS`; ValueError otherwise.
        """
        return read(self, method)

    def plot(self, bounds: Bounds | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw what was watched against the rate: a thin line per seed, and their median.

        `bounds` are drawn on the smoothed median: a point and a line down from it for base_lr
        and for max_lr, and on the axis a tick for each seed's own. Draws on `ax` or on a new
        figure, and returns the axes.
        """
        return draw(self.column, self.watched, bounds, ax)


def lr_range_test(
    model: nn.Module,
    batches: Iterable,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    policy: RangeRamp,
    evaluate: Callable[[nn.Module], float] | None = None,
    metric: Callable[[Tensor, Tensor], float] = accuracy,
    every: int | None = None,
    accumulate: int = 1,
    autocast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    scaler: torch.amp.GradScaler | None = None,
    seeds: Sequence[int] | None = None,
    reset: Callable[[nn.Module], object] | None = None,
    divergence: float = 4.0,
) -> RangeTest:
    """Train along a ramp of the rate and note loss and accuracy; then put everything back.

    `batches` yields (inputs, targets) again and again, as a DataLoader does. `policy` is the
    rate of the first parameter group; the others keep their ratio to it (or have `lr_mult`).
    Every `every` steps (default: a hundredth of the ramp) a row is written, with the mean of
    `metric(outputs, targets)` and of `loss`, and `evaluate(model)`, called in eval mode without
    gradients. A step takes `accumulate` batches. `autocast` makes the context of the forward
    pass, `scaler` scales the loss. With `seeds` there is a run for each, which sets python's,
    numpy's and torch's random states and a loader's own generators
    (`clr.training.batches.Batches` has a seed of its own, and draws the same batches in each
    run); `reset(model)` may then draw the weights anew, without it the runs differ in nothing
    but the batches.

    A run ends early when the loss is not finite, or its mean since the last row is `divergence`
    times that of the first row (where that is positive). Parameters, gradients, buffers, modes,
    optimizer, scaler, random states, and a loader's generators and position are put back, after
    an error or Ctrl-C too. Raises ValueError or TypeError, naming the argument, for what cannot
    be meant.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {model!r}")
    _check_arguments(model, optimizer, policy)
    functions = {"loss": loss, "metric": metric, "evaluate": evaluate, "reset": reset}
    for name, value in functions.items():
        if value is None and name in ("evaluate", "reset"):
            continue
        if not callable(value) or isinstance(value, type):
            raise TypeError(f"{name} must be a function or called like one; got {value!r}")
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches must be a loader or such of pairs; got {batches!r}")
    if seeds is not None and not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be some whole numbers, such as range(3); got {seeds!r}")
    every = max(1, policy.iterations // 100) if every is None else checks.whole("every", every)
    accumulate = checks.whole("accumulate", accumulate)
    divergence = checks.real("divergence", divergence, 1.0, math.inf, "at least 1")
    curves, ended = [], []
    for seed in [None] if seeds is None else [checks.whole("seeds", s, low=0) for s in seeds]:
        with restored(model, optimizer, scaler, batches):
            if seed is not None:
                random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
                for generator in generators(batches):
                    generator.manual_seed(seed)
            if reset is not None:
                reset(model)
            run = _Run(model, loss, metric, optimizer, autocast, scaler)
            curve, end = run.follow(
                policy, _micro_batches(batches), evaluate, every, accumulate, divergence
            )
        curves.append(curve)
        ended.append(end)
    if not curves:
        raise ValueError("seeds must hold at least one seed; got none")
    return RangeTest(curves, ended)


def _check_arguments(model, optimizer, policy):
    if not isinstance(policy, RangeRamp):
        hint = ""
        if isinstance(policy, torch.optim.lr_scheduler.LRScheduler):
            hint = "; the test sets the rates itself and takes no scheduler"
        raise TypeError(f"policy must be a RangeRamp; got {policy!r}{hint}")
    if policy.iterations < 2:
        raise ValueError(f"policy must have at least 2 iterations; got {policy}")
    if policy.past_end == "cycle":
        raise ValueError(f"policy must end at its highest rate, not start again; got {policy}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer; got {optimizer!r}")
    own = {id(p) for p in model.parameters()}
    groups = optimizer.param_groups
    strange = sum(id(p) not in own for group in groups for p in group["params"])
    if strange:
        raise ValueError(
            f"optimizer must be one of the model's parameters; {strange} of its tensors are not"
        )


def _micro_batches(batches):
    """(inputs, targets) without end; ValueError if there are none, or none any more."""
    passes = 0
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty and not passes:
            raise ValueError("batches must hold at least one batch; it holds none")
        if empty:
            raise ValueError(
                "batches must be something to iterate over again and again, such as a "
                "DataLoader; it was used up after one pass"
            )
        passes += 1


class _Run:
    """One pass along the ramp."""

    def __init__(self, model, loss, metric, optimizer, autocast, scaler):
        self.model, self.loss, self.metric = model, loss, metric
        self.optimizer, self.autocast, self.scaler = optimizer, autocast, scaler
        first = next(model.parameters())
        self.device = first.device
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.shares = [
            group.get("lr_mult", rate / rates[0] if rates[0] else 1.0)
            for group, rate in zip(optimizer.param_groups, rates, strict=True)
        ]

    def set_rate(self, lr: float):
        """The policy's rate, times each group's share."""
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr * share)
            else:
                group["lr"] = lr * share

    def step(self, batches, accumulate: int) -> tuple[float, float]:
        """One update: (loss, metric), means over the micro-batches."""
        self.model.zero_grad(set_to_none=True)  # also what the optimizer does not have
        losses, metrics = [], []
        for _ in range(accumulate):
            inputs, targets = (
                part.to(self.device) if isinstance(part, Tensor) else part
                for part in next(batches)
            )
            with self.autocast():
                outputs = self.model(inputs)
                loss = self.loss(outputs, targets)
            scaled = loss / accumulate
            (scaled if self.scaler is None else self.scaler.scale(scaled)).backward()
            losses.append(loss.item())
            metrics.append(float(self.metric(outputs.detach(), targets)))
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return float(np.mean(losses)), float(np.mean(metrics))

    def tested(self, evaluate) -> float:
        """What `evaluate` says of the model in eval mode; NaN without it."""
        if evaluate is None:
            return math.nan
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                return float(evaluate(self.model))
        finally:
            for module, mode in modes:
                module.training = mode

    def follow(self, policy, batches, evaluate, every, accumulate, divergence):
        """The curve and how it ended."""
        self.model.train()
        rows, since, ended = [], [], "finished"
        rows.append([0, policy(0), math.nan, math.nan, self.tested(evaluate)])
        for t in range(policy.iterations):
            self.set_rate(policy(t))
            since.append(self.step(batches, accumulate))
            broken = not math.isfinite(since[-1][0])
            if (t + 1) % every == 0 or t + 1 == policy.iterations or broken:
                loss, share = np.mean(since, axis=0)
                rows.append([t + 1, policy(t + 1), loss, share, self.tested(evaluate)])
                since = []
                first = rows[1][2]
                broken |= len(rows) > 2 and first > 0 and loss > divergence * first
            if broken:
                ended = f"diverged at iteration {t + 1}"
                break
        return pd.DataFrame(rows, columns=COLUMNS), ended
