"""The LR range test of any model, and its curves."""

from __future__ import annotations

import contextlib
import math
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset
from tqdm import tqdm

from clr import checks
from clr.groups import multipliers, unshare
from clr.policies import RangeRamp
from clr.range_test import bracket
from clr.range_test.batches import described, endless, pair
from clr.range_test.bounds import Bounds, read
from clr.range_test.figure import draw
from clr.range_test.loader import generators, is_known, is_used_up, same, seed_generator
from clr.range_test.ramp import Trainer, accuracy, follow, leads
from clr.range_test.restore import first_of, restored

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The curves of a range test, one per seed, and how each ended.

    A curve's columns: iteration (steps taken), lr (of the step that comes next), train_loss and
    train_accuracy (means over the steps since the row before), test_accuracy (NaN without
    `evaluate`). `ended` is "finished" or "diverged at iteration N". `exponential` is the curve
    of the exponential ramp that found the range, if there was one. `greater_is_better` says
    whether accuracy rises while the model gets better; with None it is detected.
    """

    curves: list[pd.DataFrame]
    ended: list[str]
    greater_is_better: bool | None = True
    exponential: pd.DataFrame | None = None

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
        """The column that is read: test accuracy, or train accuracy, or else the train loss."""
        for name in ("test_accuracy", "train_accuracy"):
            if any(name in curve and curve[name].notna().any() for curve in self.curves):
                return name
        return "train_loss"

    def bounds(self, method: str | None = None) -> Bounds:
        """base_lr and max_lr for cycles, and the peak of a schedule that falls.

        Each seed's own are read off its curve; the bounds are their medians. They are roughly
        proportional to one over the square root of the ramp's length, and are meant for half
        cycles of about that length. A run of fewer than 100 iterations is not read.

        `method` is one of `clr.range_test.METHODS`, ValueError otherwise. Without it, it is
        "accuracy", or "loss" where there is no accuracy. Printed, the result is three lines:
        the rates, how they were read, and what to keep in mind.
        """
        if method is None:
            method = "loss" if self.watched == "train_loss" else "accuracy"
        read_off = read(self.curves, self.ended, self.watched, method, self.greater_is_better)
        if self.exponential is None:
            return read_off
        peak = bracket.peak(self.exponential, read_off.base_lr is not None)
        read_off = replace(read_off, peak=peak)
        if read_off.max_lr is not None or peak is not None:
            return read_off
        fast = read([self.exponential], ["finished"], "train_loss", "loss", False)
        if fast.base_lr is None and fast.max_lr is not None:
            caveat = (
                "On the exponential ramp before, the loss only gets worse, from about "
                f"{fast.max_lr:.2g} on. If the model is trained already, stay well below that; "
                "if not, take larger batches, or accumulate=16, to see it learn."
            )
            return replace(read_off, caveat=caveat)
        return read_off

    def plot(self, bounds: Bounds | None = None, *, ax: Axes | None = None) -> Axes:
        """Plot the accuracy against the rate: a thin line per seed, and their median.

        If there is no accuracy or `bounds` were read off the loss, the loss is plotted. A cross
        marks the last test of a seed that diverged. Each bound is a point on the smoothed
        median with a line down from it, and the bounds of the single seeds are ticks on the
        axis. Draws on `ax` or on a new figure, and returns the axes.
        """
        return draw(self, bounds, ax)


def lr_range_test(
    model: nn.Module,
    batches: Iterable,
    *,
    loss: Callable[[Any, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    policy: RangeRamp | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    metric: Callable[[Any, Any], float | Tensor] | None = accuracy,
    greater_is_better: bool | None = None,
    unpack: Callable[[Any], tuple[Any, Any]] = pair,
    every: int | None = None,
    accumulate: int = 1,
    clip_grad_norm: float | None = None,
    autocast: Callable[[], contextlib.AbstractContextManager]
    | contextlib.AbstractContextManager = contextlib.nullcontext,
    scaler: torch.amp.GradScaler | None = None,
    seeds: Sequence[int] | None = None,
    reset: Callable[[nn.Module], object] | None = None,
    divergence: float = 4.0,
    restore_to: torch.device | str | None = None,
    progress: bool | None = None,
) -> RangeTest:
    """Train with a rising rate and record loss and accuracy; then restore everything.

    Without `policy` it takes at most 300 steps. Two exponential ramps, of 30 and of 170, find
    the rates at which the loss breaks and falls, and give the peak of a schedule that falls. A
    linear ramp of 100 then measures both bounds; with `seeds`, it is made for each. A `policy`,
    such as `RangeRamp(0.0, 1.0, 1000)`, takes its own number of steps per seed alone. A bar
    shows the progress where `progress` is True or, if it is None, in a terminal.

    `batches` yields (inputs, targets) again and again, as a DataLoader does. For batches of any
    other form, `unpack(batch)` returns such a pair. Inputs that are a dict are given to the
    model as keyword arguments, any others as its one argument. What the model returns goes to
    `loss(outputs, targets)` and `metric(outputs, targets)` unchanged, whether it is a tensor, a
    tuple, a dict or an object. A Hugging Face model whose batches are dicts with their labels:

        unpack=lambda batch: (batch, batch["labels"]),
        loss=lambda outputs, labels: outputs.loss,
        metric=lambda outputs, labels: accuracy(outputs.logits, labels),

    `loss` returns the mean over a batch. `metric` is called without gradients. The default is
    `accuracy`, for classes. Where outputs and targets are not of classes, and with
    `metric=None`, the bounds are read off the loss. Whether `metric` and `evaluate` rise or
    fall while the model gets better is detected from the loss, unless `greater_is_better` says
    it.

    `policy` is the rate of the first parameter group whose lr is not 0. The other groups keep
    their ratio to it (or have `lr_mult`); a group whose lr is 0 stays at 0 (see `clr.groups`).

    A row is written every `every` steps (default: a hundredth of the ramp). It holds the means
    of `metric` and of `loss`, and the result of `evaluate(model)`, which is called in eval mode
    without gradients. A step takes `accumulate` batches. `clip_grad_norm` is the norm to which
    gradients are clipped: give the one with which you are going to train. `autocast` is the
    context of the forward pass: a context manager that can be entered again, or a function that
    makes one. `scaler` scales the loss.

    With `seeds` (below 2**32) there is one run per seed. Each run sets the random states of
    Python, numpy and torch, and a loader's own generators (`clr.training.Batches` has
    its own seed, and draws the same batches in each run). `reset(model)` may then draw new
    weights, in place; without it the runs differ only in their batches.

    If all modules of the model are in eval mode, it trains in train mode. Otherwise each module
    keeps its mode, so that a batch normalization in eval mode stays in eval mode.

    Where several processes train a model together (DistributedDataParallel, fully_shard), each
    of them calls this function. Losses and metrics are the means over the processes, so that
    all read the same bounds and stop at the same step.

    A run ends early when the loss is not finite, or when its mean since the last row is above
    `divergence` times that of the first row, over five steps at least. The modules
    (parameters, gradients, buffers, modes and other attributes; also those of a loss or a
    metric that is a module), optimizer, scaler, random states and the loader are restored, also
    after an error or Ctrl-C; the next pass over the loader is what it would have been, or a
    UserWarning says that it is not. The copy of the model and of the optimizer's state lies on
    the model's device, or on `restore_to`, such as "cpu". Raises ValueError or TypeError,
    naming the argument, for invalid arguments.
    """
    checks.instance("model", model, nn.Module, "a torch.nn.Module")
    functions = {"loss": loss, "unpack": unpack}
    optional = {"metric": metric, "evaluate": evaluate, "reset": reset}
    functions |= {name: each for name, each in optional.items() if each is not None}
    for name, each in functions.items():
        # a class is called without an error, and then gives no loss
        if not callable(each) or isinstance(each, type):
            made = " (a class: make an object of it first)" if isinstance(each, type) else ""
            raise TypeError(f"{name} must be a function; got {described(each)}{made}")
    if policy is not None:
        _check_policy(policy)
    if not (hasattr(type(autocast), "__enter__") or callable(autocast)):
        raise TypeError(
            "autocast must be a context manager, such as torch.autocast('cuda'), or a function "
            f"that makes one; got {described(autocast)}"
        )
    checks.or_none(checks.flag)("progress", progress)
    checks.or_none(checks.flag)("greater_is_better", greater_is_better)
    if clip_grad_norm is not None:
        low, high = sys.float_info.min, sys.float_info.max
        above = "finite and above 0"
        clip_grad_norm = checks.real("clip_grad_norm", clip_grad_norm, low, high, above)
    every = checks.or_none(checks.whole)("every", every)
    accumulate = checks.whole("accumulate", accumulate)
    divergence = checks.real("divergence", divergence, 1.0, math.inf, "at least 1")
    numbers = _seeds(seeds)
    if restore_to is not None:
        _check_device(restore_to)
    if scaler is not None:
        checks.instance("scaler", scaler, torch.amp.GradScaler, "a torch.amp.GradScaler")
    checks.instance("optimizer", optimizer, torch.optim.Optimizer, "a torch.optim.Optimizer")
    own = {id(p) for p in model.parameters()}
    if not own:
        raise ValueError(f"model must have parameters; {type(model).__name__} has none")
    strange = sum(id(p) not in own for group in optimizer.param_groups for p in group["params"])
    if strange:
        raise ValueError(
            "optimizer must hold only the model's parameters; "
            f"{strange} of its tensors are others"
        )
    if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        raise TypeError(
            "batches must be something to iterate over, such as a DataLoader or a list of "
            f"batches; got {described(batches)}"
        )
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        raise TypeError(
            "batches must be something that yields batches, such as DataLoader(dataset, 32, "
            f"shuffle=True); got a data set, which yields single examples: {described(batches)}"
        )
    used_up = is_used_up(batches)
    certain = used_up or is_known(batches)
    first = None if certain else first_of(batches)
    device = next(model.parameters()).device
    # a loss or a metric that is a module may keep a state, too
    parts = [part for part in (loss, metric, evaluate) if isinstance(part, nn.Module)]
    changed = nn.ModuleList([model, *parts])
    trainer = Trainer(
        model=model, optimizer=optimizer, shares=multipliers(optimizer.param_groups), loss=loss,
        metric=metric, evaluate=evaluate, accumulate=accumulate, clip_grad_norm=clip_grad_norm,
        autocast=autocast, scaler=scaler,
    )  # fmt: skip

    def ramp(
        along: RangeRamp, seed: int | None, every: int, limit: float, trainer: Trainer
    ) -> tuple[pd.DataFrame, str]:
        with restored(changed, optimizer, scaler, batches, restore_to=restore_to):
            unshare(optimizer)
            if seed is not None:
                _seed(seed, batches)
            if reset is not None:
                reset(model)
                if own != {id(p) for p in model.parameters()}:
                    raise ValueError(
                        "reset must change the weights in place, as torch.nn.init does, since "
                        "the optimizer holds them; it has put others in their place"
                    )
            if not any(module.training for module in model.modules()):
                model.train()
            with contextlib.closing(endless(batches, unpack, device)) as micro_batches:
                return follow(along, trainer, micro_batches, every, limit, bar.update)

    linear = bracket.LINEAR if policy is None else policy.iterations
    total = len(numbers) * linear + (bracket.STEPS - bracket.LINEAR if policy is None else 0)
    hidden = not leads() or (None if progress is None else not progress)
    slow = None
    with tqdm(total=total, desc="LR range test", unit="step", disable=hidden) as bar:
        if policy is None:
            untested = replace(trainer, evaluate=None)
            fast, _ = ramp(bracket.FAST, numbers[0], 1, bracket.BREAK, untested)
            slow, _ = ramp(bracket.slow_ramp(fast), numbers[0], 1, divergence, untested)
            policy = bracket.linear_ramp(slow)
            bar.update(total - len(numbers) * linear - bar.n)  # what a divergence spared
        rows = every or max(1, policy.iterations // 100)
        runs = [ramp(policy, seed, rows, divergence, trainer) for seed in numbers]
    if used_up or not (certain or same(first, first_of(batches))):
        warnings.warn(
            "batches: the next pass is not what it would have been without the range test, "
            f"which cannot put back the state of {described(batches)}; make it anew",
            stacklevel=2,
        )
    rising = True if metric is accuracy and evaluate is None else greater_is_better
    return RangeTest([curve for curve, _ in runs], [end for _, end in runs], rising, slow)


def _check_policy(policy: RangeRamp) -> None:
    """TypeError or ValueError unless it is a ramp that can be followed to its end."""
    checks.instance("policy", policy, RangeRamp, "a RangeRamp or None")
    if policy.iterations < 2 or policy.past_end == "cycle":
        raise ValueError(
            "policy must have at least 2 iterations and not start again (past_end='cycle'); "
            f"got {policy}"
        )


def _check_device(device: torch.device | str) -> None:
    """TypeError or ValueError unless tensors can be kept on that device."""
    allowed = "a device of this machine, such as 'cpu'"
    checks.instance("restore_to", device, torch.device | str, allowed)
    try:
        there = not torch.empty(0, device=device).is_meta
    except (RuntimeError, AssertionError):  # the second, without support for the device
        there = False
    if not there:
        raise ValueError(f"restore_to must be {allowed}; got {device!r}")


def _seeds(seeds: Iterable[int] | None) -> list[int | None]:
    """The seed of each run; numpy's seeds end at 2**32 - 1."""
    if seeds is None:
        return [None]
    checks.instance("seeds", seeds, Iterable, "whole numbers, such as range(5)")
    numbers: list[int | None] = [checks.whole("seeds", s, low=0, high=2**32 - 1) for s in seeds]
    if not numbers:
        raise ValueError("seeds must hold at least one seed; got none")
    return numbers


def _seed(seed: int, batches: Iterable) -> None:
    """Begin all random numbers at `seed`."""
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    for generator in generators(batches):
        seed_generator(generator, seed)
