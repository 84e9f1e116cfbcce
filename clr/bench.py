"""How fast we train, beside a tutorial's loop, other libraries, and the machine's limits.

On a CPU: a step of `cifar10_full` at batch 100, on random pixels of CIFAR-10's size, as this
package takes it, as most tutorials do and, if asked, as other libraries do. The rounds
alternate, so that a busy machine slows all of them; what counts are the ratios. On a GPU: the
step as one CUDA graph, and without the graph.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from statistics import median
from unittest import mock

import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from clr.policies import Triangular
from clr.scheduler import PolicyLR
from clr.training import RunConfig, Training, loop
from clr.training.data import Batches, Dataset
from clr.training.models import Cifar10Full

BATCH = 100
WARM_UP = 5  # steps of a loop that are not measured
CONFIG = RunConfig(Triangular(0.001, 0.006, 2000), 10**6, dataset="cifar10", shuffle=False)
RESNET = replace(
    CONFIG, model="resnet56", batch_size=1000, ghost_batch=125, flip=True, shuffle=True
)
ON_A_GPU = {
    "cifar10_full, 100 images, TF32": CONFIG,
    "ResNet-56, 1,000 images, bfloat16": replace(RESNET, precision="bfloat16"),
    "ResNet-56, 1,000 images, TF32": RESNET,
}


def pixels(n: int = 50_000) -> Dataset:
    """Random images of CIFAR-10's size and number."""
    make = torch.Generator().manual_seed(0)

    def images(n):
        drawn = torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=make)
        return drawn.permute(0, 3, 1, 2), torch.arange(n) % 10

    return Dataset("cifar10", tuple("abcdefghij"), *images(n), *images(10_000))


# --- the loops: each trains without an end, and calls `done` after each step ---


def ours(data: Dataset, done: Callable[[], None]):
    """The steps of `Training`."""
    training = Training(CONFIG, data)
    while True:
        training.step()
        done()


def tutorial_model() -> Cifar10Full:
    """The same network as tutorials write it: channels first, the norm with `**`."""
    model = Cifar10Full()
    model.norm.forward = lambda x: (
        x / (1 + 5e-5 * F.avg_pool2d(x**2, 3, stride=1, padding=1)) ** 0.75
    )
    return model


class Images:
    """The training images as a data set with PIL transforms, as torchvision has them."""

    def __init__(self, data: Dataset):
        from torchvision import transforms

        normalize = transforms.Normalize((0.5,) * 3, (0.25,) * 3)
        self.transform = transforms.Compose([transforms.ToTensor(), normalize])
        self.arrays = data.train_images.permute(0, 2, 3, 1).numpy()
        self.labels = data.train_labels

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, i):
        from PIL import Image

        return self.transform(Image.fromarray(self.arrays[i])), int(self.labels[i])


def tutorial_loader(data: Dataset) -> DataLoader:
    """A DataLoader with two workers."""
    return DataLoader(Images(data), BATCH, shuffle=True, num_workers=2)


def tutorial(data: Dataset, done: Callable[[], None]):
    """DataLoader, zero_grad, backward, step, loss.item()."""
    model, loader, running = tutorial_model(), tutorial_loader(data), 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=0.004)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            done()


def fastai(data: Dataset, done: Callable[[], None]):
    """Fastai's Learner on the tutorial's loader."""
    from fastai.basics import SGD, Callback, DataLoaders, Learner

    class Step(Callback):
        def after_batch(self):
            done()

    loader = tutorial_loader(data)
    loaders = DataLoaders(loader, loader, device=torch.device("cpu"))
    learner = Learner(loaders, tutorial_model(), F.cross_entropy, opt_func=SGD, cbs=Step())
    with learner.no_logging():
        learner.fit(100, lr=1e-5)


def lightning(data: Dataset, done: Callable[[], None]):
    """Lightning's Trainer on the tutorial's loader."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = tutorial_model()

        def training_step(self, batch, _):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def on_train_batch_end(self, *_):
            done()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-5, momentum=0.9)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=100, barebones=True)
    try:
        trainer.fit(Module(), tutorial_loader(data))
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None


OTHERS = {"fastai": fastai, "lightning": lightning}


class _Enough(Exception):
    """Ends a loop that has taken all the steps that are measured."""


def step_seconds(train: Callable, data: Dataset, steps: int) -> float:
    """Seconds per step of a loop, as the mean of `steps` steps after the first ones."""
    ends = []

    def done():
        ends.append(time.perf_counter())
        if len(ends) == WARM_UP + steps:
            raise _Enough

    with suppress(_Enough):
        train(data, done)
    return (ends[-1] - ends[WARM_UP - 1]) / steps


# --- the limits of the machine -------------------------------------------------


def seconds(action: Callable[[], object], times: int = 1) -> float:
    """Seconds per call of `action`, as the mean of `times` calls in a row."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(times):
        action()
    wait()
    return (time.perf_counter() - start) / times


def matmul_rate(size: int = 2048, device: str = "cpu", dtype=torch.float32) -> float:
    """FLOP/s of this machine in a matrix product, by default in float32."""
    a, b = torch.rand(2, size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(5))


def gpu_rates(device: str) -> tuple[dict[str, float], float]:
    """(FLOP/s of matrix products by precision, bytes/s of a copy, reads plus writes)."""
    size, length = (8192, 2**30) if device == "cuda" else (256, 2**20)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions have it
    try:
        kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        rates = {name: matmul_rate(size, device, kind) for name, kind in kinds.items()}
    finally:
        torch.set_float32_matmul_precision(before)
    block = torch.empty(length, dtype=torch.uint8, device=device)
    return rates, 2 * length / min(seconds(block.clone, 10) for _ in range(5))


def work(config: RunConfig, data: Dataset) -> tuple[int, int]:
    """The least work of a step: (operations of convolutions and matrix products, bytes moved).

    The bytes are what the forward pass keeps for the backward pass, written and read once.
    """
    kept = {}

    def keep(tensor):
        kept[id(tensor.untyped_storage())] = tensor, tensor.untyped_storage().nbytes()
        return tensor

    training = Training(config, data, "meta")  # shapes alone
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, FlopCounterMode(display=False) as counter:
        training.step()
    return counter.get_total_flops(), 2 * sum(size for _, size in kept.values())


def peak_memory() -> int:
    """The peak resident memory, in bytes, of a new process that trains and tests."""
    script = """
import re, resource
from pathlib import Path
from clr import bench
training = bench.Training(bench.CONFIG, bench.pixels())
for _ in range(10):
    training.step()
training.record()
status = Path("/proc/self/status")  # getrusage would count what the parent had before exec
if status.exists():
    print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return int(done.stdout)


# --- the report ----------------------------------------------------------------


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


def report(against: Collection[str] = (), rounds: int = 7) -> Iterator[str]:
    """The lines of the report, with the named libraries of `OTHERS`; measures as it goes."""
    yield from (f"{n} is not installed and left out" for n in against if not find_spec(n))
    yield from cpu_report([name for name in against if find_spec(name)], rounds)
    yield from scheduler_report(rounds)
    if torch.cuda.is_available():
        yield from gpu_report(rounds)


def cpu_report(against: Collection[str], rounds: int, steps: int = 20) -> Iterator[str]:
    """The part about the CPU."""
    data = pixels()
    loops = {"ours": ours, "tutorial": tutorial} | {name: OTHERS[name] for name in against}
    times: dict[str, list[float]] = {name: [] for name in loops}
    rates = []
    for _ in range(rounds):
        for name, each in loops.items():
            times[name].append(step_seconds(each, data, steps))
        rates.append(matmul_rate())
    step, threads = median(times["ours"]), torch.get_num_threads()
    yield f"cifar10_full, batch {BATCH}, {threads} threads, {rounds} rounds of {steps} steps:"
    for name, theirs in times.items():
        ratio = median(b / a for a, b in zip(times["ours"], theirs, strict=True))
        yield f"  {name:10} {1000 * median(theirs):6.1f} ms per step, {ratio:.2f} times ours"
    operations, _ = work(CONFIG, data)
    floors = [operations / rate for rate in rates]
    share = median(floor / ours for floor, ours in zip(floors, times["ours"], strict=True))
    yield (
        f"  matrix products {median(rates) / 1e9:.0f} GFLOP/s, so convolutions take "
        f"{1000 * median(floors):.1f} ms at least,"
    )
    yield f"  which is {share:.2f} of our step"
    batches, training = Batches(data, BATCH, shuffle=False), Training(CONFIG, data)
    loading = seconds(lambda: next(batches), 200)
    yield f"  loading takes {100 * loading / step:.1f} % of a step"
    yield _testing(seconds(training.evaluate, 2) / step)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        training.model(data.as_input(data.test_images[:BATCH]))
    least = counter.get_total_flops() * len(data.test_images) / BATCH / operations
    yield f"  and {100 * least / 500:.1f} % of its operations"
    yield f"  peak memory {peak_memory() / 1e9:.2f} GB"


def gpu_report(rounds: int, steps: int = 50, device: str = "cuda") -> Iterator[str]:
    """The part about the GPU."""
    data, (rates, bandwidth) = pixels(), gpu_rates(device)
    products = ", ".join(f"{rate / 1e12:.0f} in {name}" for name, rate in rates.items())
    yield f"TFLOP/s of matrix products: {products} (TF32); copies {bandwidth / 1e12:.2f} TB/s"
    for name, config in ON_A_GPU.items():
        graphed = Training(config, data, device)
        with mock.patch.object(loop, "GRAPHED_ON", ()):
            plain = Training(config, data, device)
        both = graphed.step, plain.step
        times = [[seconds(step, steps) for step in both] for _ in range(1 + rounds)]
        step, calls = (median(each) for each in zip(*times[1:], strict=True))  # 0: warm-up
        testing = median(seconds(graphed.evaluate) for _ in range(3))
        operations, moved = work(replace(config, precision="float32"), data)
        moved /= 1 if config.precision == "float32" else 2
        floor = operations / rates[config.precision]
        yield f"{name}: {1000 * step:.2f} ms per step, {1 / step:,.0f} steps per second"
        yield f"  without the graph {calls / step:.2f} times as long"
        yield f"  floor of {operations / 1e9:.1f} GFLOP: {1000 * floor:.3f} ms"
        yield f"  floor of {moved / 1e6:.0f} MB moved: {1000 * moved / bandwidth:.3f} ms"
        yield _testing(testing / step)


def _testing(steps: float) -> str:
    """What testing costs, as a line; one test takes as long as `steps` steps."""
    share = 100 * steps / 500
    return f"  testing every 500 iterations takes {share:.1f} % of the training time"
