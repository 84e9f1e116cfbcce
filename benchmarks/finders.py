"""Which finder gives the best peak rate? Every training is kept in results/finders.

python benchmarks/finders.py truth   # what each task reaches with each peak rate
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tasks import STEPS, TASKS, Task, build

FOLDER = Path("results/finders")
TRUTH_SEEDS = range(5)

SCHEDULES: dict[
    str, Callable[[float], float]
] = {  # the share of the peak, by the time from 0 to 1
    "triangle": lambda time: 1 - 0.75 * abs(2 * time - 1),
    "linear to 0": lambda time: 1 - time,
    "constant": lambda time: 1.0,
}


class Kept:
    """Results of one task by key, one line each in a file, so that a stopped run goes on."""

    def __init__(self, task: Task) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.path = FOLDER / f"{task.name.replace(', ', '-').replace(' ', '_')}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.values = dict(json.loads(line) for line in lines)

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The result of that key; it is made with `make` if there is none."""
        if key not in self.values:
            self.values[key] = make()
            with self.path.open("a") as file:
                file.write(json.dumps([key, self.values[key]]) + "\n")
        return self.values[key]


def step(task: Task, model: Any, optimizer: Any, batch: Any, lr: float) -> tuple[float, float]:
    """One update: the loss and, for classes, the accuracy of the batch."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    inputs, targets = batch
    outputs = model(inputs)
    loss = task.loss(outputs, targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    right = (outputs.argmax(1) == targets).float().mean().item() if task.classes else math.nan
    return loss.item(), right


def endless(batches: Any) -> Any:
    while True:
        yield from batches


def train(task: Task, seed: int, rates: Sequence[float]) -> float | None:
    """The score after a training with these rates; None if the loss became infinite."""
    model, batches, evaluate = build(task, seed)
    optimizer = task.optimizer(model.parameters(), lr=task.usual)
    source = endless(batches)
    model.train()
    for lr in rates:
        if not math.isfinite(step(task, model, optimizer, next(source), lr)[0]):
            return None
    model.eval()
    with torch.no_grad():
        score = evaluate(model)
    return score if math.isfinite(score) else None


def truth(task: Task, seed: int) -> None:
    """Train with each schedule and peak rate, and keep the scores."""
    kept = Kept(task)
    kept.get(f"truth start {seed}", lambda: train(task, seed, ()))
    for octave in range(task.octaves[0], task.octaves[1] + 1):
        for name, share in SCHEDULES.items():
            rates = [2.0**octave * share(t / (STEPS - 1)) for t in range(STEPS)]
            kept.get(
                f"truth {name} {octave} {seed}",
                lambda: train(task, seed, rates),  # noqa: B023
            )
    print(task.name, "truth, seed", seed, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed in TRUTH_SEEDS:
        for each in TASKS.values():
            if sys.argv[1:] == ["truth"]:
                truth(each, seed)
