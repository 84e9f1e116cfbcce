"""What a step of `PolicyLR` costs beside a step of torch's own schedulers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import torch
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from clr.policies import Triangular
from clr.scheduler import PolicyLR


def scheduler_seconds(groups: int, rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds per step of each scheduler, in alternating rounds, with that many groups."""

    def begin(cls: type[LRScheduler], *args, **kwargs) -> LRScheduler:
        one_each = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)]
        scheduler = cls(torch.optim.SGD(one_each, lr=0.1), *args, **kwargs)
        scheduler.optimizer.step()
        for _ in range(2):  # torch checks more in the first steps
            scheduler.step()
        return scheduler

    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for scheduler in (
            begin(PolicyLR, Triangular(0.001, 0.006, 2000)),
            begin(CyclicLR, 0.001, 0.006, 2000, cycle_momentum=False),
            begin(OneCycleLR, 0.006, steps + 10, cycle_momentum=False),
        ):
            start = time.perf_counter()
            for _ in range(steps):
                scheduler.step()
            taken = (time.perf_counter() - start) / steps
            times.setdefault(type(scheduler).__name__, []).append(taken)
    return times


def scheduler_report(rounds: int) -> Iterator[str]:
    """The lines about the schedulers."""
    for groups in (1, 50):
        times = scheduler_seconds(groups, 10 * rounds, steps=100)
        ours, some = times.pop("PolicyLR"), f"{groups} parameter group{'s' * (groups > 1)}"
        yield f"a step of PolicyLR with {some}: {1e6 * median(ours):.1f} µs"
        for name, theirs in times.items():
            ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
            yield f"  {ratio:.2f} times {name}'s {1e6 * median(theirs):.1f} µs"
