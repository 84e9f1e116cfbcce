"""Which finder gives the best peak rate? Every training is kept in results/finders.

python benchmarks/finders.py truth   # what each task reaches with each peak rate
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tasks import AGAIN, DESIGN, JUDGED, STEPS, TASKS, Task, build

from clr.policies import ExponentialRangeRamp, RangeRamp
from clr.range_test import lr_range_test

FOLDER = Path("results/finders")
DATA = Path("data/finders.csv")
TRUTH_SEEDS, SEEDS = range(3), range(10, 15)
PARTS = {"design": DESIGN, "judged": JUDGED, "again": AGAIN}
PEERS = {"fastai": "2.8", "torch-lr-finder": "0.2.2", "Lightning": "2.6"}

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


def step(task: Task, model: Any, optimizer: Any, batch: Any, lr: float) -> float:
    """One update; returns its loss."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    inputs, targets = batch
    loss = task.loss(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


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
        if not math.isfinite(step(task, model, optimizer, next(source), lr)):
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


def exponential(low: float, high: float, steps: int) -> list[float]:
    """The rates of an exponential ramp: `low` first, `high` last."""
    return [low * (high / low) ** (t / (steps - 1)) for t in range(steps)]


def losses_of(
    task: Task, seed: int, rates: Sequence[float], limit: float = math.inf
) -> list[float]:
    """The losses of the steps of a ramp, up to one that is not finite or above the limit.

    The limit is a multiple of the first loss; it only spares time, and is far above what the
    finders stop at.
    """
    model, batches, _ = build(task, seed)
    optimizer = task.optimizer(model.parameters(), lr=task.usual)
    source = endless(batches)
    model.train()
    losses: list[float] = []
    for lr in rates:
        losses.append(step(task, model, optimizer, next(source), lr))
        if not math.isfinite(losses[-1]):
            return losses + [math.nan] * (len(rates) - len(losses))
        if losses[-1] > 1e3 * abs(losses[0]):
            break
    return losses


# --- the other finders: from (rates, losses) to a rate --------------------------------


def averaged(losses: Sequence[float], beta: float, late: int = 0) -> np.ndarray:
    """Exponential moving averages, divided by 1 - beta**(number of losses + `late`)."""
    average, averages = 0.0, []
    for n, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        averages.append(average / (1 - beta ** (n + late)))
    return np.array(averages)


def until_above(values: np.ndarray, factor: float) -> int:
    """How many values there are up to the first above `factor` times the lowest before it."""
    above = np.flatnonzero(values > factor * np.fmin.accumulate(values))
    return int(above[0]) + 1 if len(above) else len(values)


def of_fastai(task: Task, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """What fastai's `lr_find` hands to its suggestions: 1e-7 to 10, smoothed, ends cut off."""
    rates = np.array([1e-7 * 1e8 ** (t / steps) for t in range(steps)])
    losses = averaged(losses_of(task, seed, rates), 0.98)
    losses = losses[: until_above(losses, 4.0)]
    kept = slice(steps // 10, len(losses) - 5)
    rates, losses = rates[: len(losses)][kept], losses[kept]
    return rates[np.isfinite(losses)], losses[np.isfinite(losses)]


def minimum(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """A tenth of the rate with the lowest loss."""
    return float(rates[losses.argmin()]) / 10 if len(rates) else None


def steep(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The rate at which the loss falls fastest by the logarithm of the rate."""
    if len(rates) < 2:
        return None
    return float(rates[(np.diff(losses) / np.diff(np.log(rates))).argmin()])


def valley(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The middle of the longest valley: the longest decreasing subsequence of the losses.

    It is taken to begin as many points before its end as it has members, and the rate is that
    at a third and a sixth of it.
    """
    if not len(rates):
        return None
    length = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        longer = length[:i][losses[:i] > losses[i]]
        length[i] += longer.max() if len(longer) else 0
    end = int(length.argmax())
    begin = end - length[end] if end else 0
    third = (end - begin) / 3
    return float(rates[begin + int(third) + int(third / 2)])


def slide(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """Slide an interval of 15 points from the right to where its ends are equally steep."""
    if len(rates) < 17:
        return None
    slope, right = np.gradient(losses), len(losses) - 1
    found = rates[right - 15]
    while right >= 15 and abs(slope[right] - slope[right - 15]) > 0.005:
        found = rates[right - 15]
        right -= 1
    return float(found)


def torch_lr_finder(task: Task, seed: int) -> float | None:
    """Its example: 1e-7 to 100 in 100 steps, smoothed by 0.05; the steepest by index."""
    rates = np.array(exponential(1e-7, 100, 100))
    smooth: list[float] = []
    for loss in losses_of(task, seed, rates):
        smooth.append(0.05 * loss + 0.95 * smooth[-1] if smooth else loss)
    values = np.array(smooth)[: until_above(np.array(smooth), 5.0)]
    kept = slice(10, len(values) - 5)
    if len(values[kept]) < 2:
        return None
    return float(rates[: len(values)][kept][np.gradient(values[kept]).argmin()])


def lightning(task: Task, seed: int) -> float | None:
    """Its tuner: 1e-8 to 1 in 100 steps; the steepest point by the rate itself.

    Its ramp leaves out the second point, and its averages are divided by 1 - beta**(n + 1).
    """
    rates = np.array([1e-8 * 1e8 ** ((t + 1 if t else 0) / 100) for t in range(100)])
    losses = averaged(losses_of(task, seed, rates), 0.98, late=1)
    losses = losses[: until_above(losses, 4.0)]
    kept = slice(10, len(losses) - 1)
    rates, losses = rates[: len(losses)][kept], losses[kept]
    rates, losses = rates[np.isfinite(losses)], losses[np.isfinite(losses)]
    return float(rates[np.gradient(losses, rates).argmin()]) if len(rates) > 1 else None


def short_trainings(task: Task, seed: int) -> float | None:
    """Of six rates, 1e-5 to 1, the one with the lowest loss at the end of 100 steps."""
    ends = {}
    for power in range(-5, 1):
        losses = losses_of(task, seed, [10.0**power] * 100)
        if len(losses) == 100 and math.isfinite(losses[-1]):
            ends[10.0**power] = statistics.fmean(losses[-20:])
    return min(ends, key=ends.get) if ends else None


def half_of_the_minimum(task: Task, seed: int) -> float | None:
    """Half of the rate with the lowest smoothed loss, in 200 steps from 1e-7 to 10."""
    rates = exponential(1e-7, 10, 200)
    losses = averaged(losses_of(task, seed, rates), 0.9)
    return rates[int(np.nanargmin(losses[: until_above(losses, 4.0)]))] / 2


# --- ours ---------------------------------------------------------------------------


def ours(task: Task, seed: int, policy: RangeRamp | None) -> Any:
    """The range test of `lr_range_test`."""
    model, batches, _ = build(task, seed)
    optimizer = task.optimizer(model.parameters(), lr=task.usual)
    return lr_range_test(model, batches, loss=task.loss, optimizer=optimizer, policy=policy)


def good_end(task: Task) -> float:
    """The end of a linear ramp for one who knows the answer: four times the best peak."""
    table = truth_of(task)
    octaves = [float(scores.idxmax()) for _, scores in table.items()]
    return 4 * 2.0 ** statistics.fmean(octaves)


def find_ours(task: Task, seed: int) -> dict[str, float | None]:
    """What the range test says, without and with a policy: {finder: rate}."""
    nothing = ours(task, seed, None)
    found = {
        "ours: peak": nothing.bounds().peak,
        "ours: max_lr": nothing.bounds().max_lr,
        "ours: max_lr, off the loss": nothing.bounds("loss").max_lr,
    }
    end = good_end(task)
    for name, top in (("good", end), ("10 times too high", 10 * end), ("too low", end / 10)):
        ramped = ours(task, seed, RangeRamp(0.0, top, 200))
        highest = ramped.bounds().max_lr
        found[f"linear ramp, end {name}: max_lr"] = highest
        if name == "good":
            losses = ramped.column("train_loss")[0].dropna()
            third = float(losses.rolling(5, center=True).median().idxmin()) / 3
            found["linear ramp, end good: max_lr/3"] = highest and highest / 3
            found["linear ramp, end good: minimum/3"] = third
    ramp = ExponentialRangeRamp(1e-7, 10.0, 200)
    found["exponential ramp: max_lr"] = ours(task, seed, ramp).bounds().max_lr
    return found


def find_others(task: Task, seed: int) -> dict[str, float | None]:
    """What the other finders say: {finder: rate}."""
    found: dict[str, float | None] = {
        "exponential ramp: minimum/2": half_of_the_minimum(task, seed)
    }
    fastai = of_fastai(task, seed, 100)
    for rule in (minimum, valley, steep, slide):
        found[f"fastai {rule.__name__}"] = rule(*fastai)
    found["fastai slide, 200 steps"] = slide(*of_fastai(task, seed, 200))
    found["torch-lr-finder"] = torch_lr_finder(task, seed)
    found["Lightning"] = lightning(task, seed)
    found["six short trainings"] = short_trainings(task, seed)
    found["no finder: SGD 0.1, Adam 0.01"] = task.usual
    return found


# --- the table ----------------------------------------------------------------------


@functools.cache
def truth_of(task: Task) -> pd.DataFrame:
    """The share of the reachable rise: a row per octave, a column per schedule."""
    kept = Kept(task).values
    start = statistics.fmean(kept[f"truth start {seed}"] for seed in TRUTH_SEEDS)
    octaves = range(task.octaves[0], task.octaves[1] + 1)
    shares = {}
    for name in SCHEDULES:
        means = []
        for octave in octaves:
            scores = [kept[f"truth {name} {octave} {seed}"] for seed in TRUTH_SEEDS]
            means.append(
                statistics.fmean(max(start, s) if s is not None else start for s in scores)
            )
        shares[name] = [(mean - start) / (max(means) - start) for mean in means]
    return pd.DataFrame(shares, index=octaves)


def regrets(task: Task, rate: float | None) -> list[float]:
    """The regret of a peak rate, per schedule."""
    table = truth_of(task)
    if rate is None:
        return [1.0] * len(table.columns)
    return [
        1 - float(np.interp(math.log2(rate), table.index, table[name]))
        for name in table.columns
    ]


def table() -> pd.DataFrame:
    """One row per task, finder and seed: the rate and its regret with each schedule."""
    rows = []
    for part, tasks in PARTS.items():
        for task in tasks:
            kept = Kept(task).values
            for seed in SEEDS:
                both = kept.get(f"ours {seed}", {}) | kept.get(f"others {seed}", {})
                for finder, rate in both.items():
                    values = [round(value, 4) for value in regrets(task, rate)]
                    shown = None if rate is None else float(f"{rate:.4g}")
                    rows.append([part, task.name, finder, seed, shown, *values])
    columns = ["part", "task", "finder", "seed", "rate", *SCHEDULES]
    return pd.DataFrame(rows, columns=columns)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, median and worst regret in percent, of the seeds' means by task and schedule."""
    means = rows.groupby(["finder", "task"], sort=False)[[*SCHEDULES]].mean().stack()
    each = 100 * means.groupby("finder", sort=False).agg(["mean", "median", "max"])
    each["none"] = rows["rate"].isna().groupby(rows["finder"], sort=False).sum()
    return each.sort_values("mean")


if __name__ == "__main__":
    torch.set_num_threads(1)
    command, *which = sys.argv[1:]
    if command == "truth":
        for seed in TRUTH_SEEDS:
            for each in TASKS.values():
                truth(each, seed)
    elif command == "find":
        for each in PARTS[which[0]]:
            for seed in SEEDS:
                kept = Kept(each)
                kept.get(f"others {seed}", lambda: find_others(each, seed))  # noqa: B023
                kept.get(f"ours {seed}", lambda: find_ours(each, seed))  # noqa: B023
            print(each.name, "found", flush=True)
    elif command == "table":
        rows = table()
        rows.to_csv(DATA, index=False)
        for part in PARTS:
            print(part, summary(rows[rows["part"] == part]).round(1).to_string(), sep="\n")
        print("all", summary(rows).round(1).to_string(), sep="\n")
