"""How fast we train on a GPU: the step as one CUDA graph, and what it is compared with."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace

import torch

from clr.bench import step as bench
from clr.training import Training

RESNET = replace(
    bench.CONFIG, model="resnet56", batch_size=1000, ghost_batch=125, flip=True, shuffle=True
)
CONFIGS = {
    "cifar10_full, 100 images, TF32": bench.CONFIG,
    "ResNet-56, 1,000 images, bfloat16": replace(RESNET, precision="bfloat16"),
    "ResNet-56, 1,000 images, TF32": RESNET,
}


def machine(device: str) -> tuple[dict[str, float], float]:
    """(FLOP/s of matrix products by precision, bytes/s of a copy, reads plus writes)."""
    size, length = (8192, 2**30) if device == "cuda" else (256, 2**20)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions have it
    try:
        rates = {
            name: bench.matmul_rate(size, device, getattr(torch, name))
            for name in ("float32", "bfloat16")
        }
    finally:
        torch.set_float32_matmul_precision(before)
    block = torch.empty(length, dtype=torch.uint8, device=device)
    return rates, 2 * length / min(bench.seconds(block.clone, 10, device) for _ in range(5))


def times(config, data, rounds: int, steps: int, device: str) -> dict[str, float]:
    """Seconds per step (the median of alternating rounds), and seconds per test."""
    training = Training(config, data, device)
    graphed = training._update
    for _ in range(5):
        training.step()
    found: dict[str, list[float]] = {"graph": [], "calls": []}
    for _ in range(rounds):
        found["graph"].append(bench.seconds(training.step, steps, device))
        training._update = training._one_update
        found["calls"].append(bench.seconds(training.step, steps, device))
        training._update = graphed
    found["test"] = [bench.seconds(training.evaluate, 1, device) for _ in range(3)]
    return {name: statistics.median(each) for name, each in found.items()}


def report(rounds: int = 7, steps: int = 50, device: str = "cuda") -> Iterator[str]:
    """The lines of the report; measures as it goes."""
    data = bench.pixels()
    rates, bandwidth = machine(device)
    products = ", ".join(f"{rate / 1e12:.0f} in {name}" for name, rate in rates.items())
    yield f"TFLOP/s of matrix products: {products} (TF32); copies {bandwidth / 1e12:.2f} TB/s"
    for name, config in CONFIGS.items():
        taken = times(config, data, rounds, steps, device)
        operations, moved = bench.work(replace(config, precision="float32"), data)
        moved /= 1 if config.precision == "float32" else 2
        step, floor = taken["graph"], operations / rates[config.precision]
        yield f"{name}: {1000 * step:.2f} ms per step, {1 / step:,.0f} steps per second"
        yield f"  without the graph {taken['calls'] / step:.2f} times as long"
        yield f"  floor of {operations / 1e9:.1f} GFLOP: {1000 * floor:.3f} ms"
        yield f"  floor of {moved / 1e6:.0f} MB moved: {1000 * moved / bandwidth:.3f} ms"
        share = taken["test"] / (500 * step)
        yield f"  testing every 500 iterations takes {100 * share:.1f} % of the training time"
