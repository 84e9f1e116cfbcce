"""How fast we train, measured side by side in one process.

One step of `cifar10_full` at batch 100, on random pixels of CIFAR-10's size: as this package
does it, as most tutorials do it, and, if asked, as other libraries do. The rounds alternate, so
that a busy machine slows all of them; what counts are the ratios.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from clr.bench.scheduler import scheduler_report
from clr.policies import Triangular
from clr.training import RunConfig, Training
from clr.training.batches import Batches
from clr.training.datasets import Dataset
from clr.training.models import Cifar10Full

BATCH = 100
CONFIG = RunConfig(Triangular(0.001, 0.006, 2000), 10**6, dataset="cifar10", shuffle=False)


def pixels(n: int = 50_000) -> Dataset:
    """Random images of CIFAR-10's size and number."""
    make = torch.Generator().manual_seed(0)

    def images(n):
        drawn = torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=make)
        return drawn.permute(0, 3, 1, 2), torch.arange(n) % 10

    return Dataset("cifar10", tuple("abcdefghij"), *images(n), *images(10_000))


class _Tutorial(nn.Module):
    """The same network as tutorials write it: channels first, the norm with `**`."""

    def __init__(self):
        super().__init__()
        self.net = Cifar10Full()
        self.net.norm.forward = self._norm

    def _norm(self, x):
        return x / (1 + 5e-5 * F.avg_pool2d(x**2, 3, stride=1, padding=1)) ** 0.75

    def forward(self, x):
        return self.net(x)


def tutorial_loader(data: Dataset):
    """A torchvision-style data set with PIL transforms, in a DataLoader with two workers."""
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms

    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
    )

    class Images(torch.utils.data.Dataset):
        arrays = data.train_images.permute(0, 2, 3, 1).numpy()

        def __len__(self):
            return len(self.arrays)

        def __getitem__(self, i):
            return transform(Image.fromarray(self.arrays[i])), int(data.train_labels[i])

    return DataLoader(Images(), BATCH, shuffle=True, num_workers=2)


def tutorial(data: Dataset) -> Iterator[None]:
    """One step per item: DataLoader, zero_grad, backward, step, loss.item()."""
    model = _Tutorial()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=0.004)
    running = 0.0
    while True:
        for images, labels in tutorial_loader(data):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            yield


def ours(data: Dataset) -> Iterator[None]:
    """One step per item, as `Training` makes it."""
    training = Training(CONFIG, data)
    while True:
        training.step()
        training.losses = training.losses[-1:]
        yield


def _in_thread(fit: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """One step per item, for a library with its own loop that calls back after each step."""
    import threading

    step, go = threading.Semaphore(0), threading.Semaphore(0)

    def after_step():
        step.release()
        go.acquire()

    failure = []

    def run():
        try:
            fit(after_step)
        except BaseException as error:
            failure.append(error)
            step.release()

    threading.Thread(target=run, daemon=True).start()
    while True:
        step.acquire()
        if failure:
            raise failure[0]
        yield
        go.release()


def fastai(data: Dataset) -> Iterator[None]:
    """Fastai's Learner on the tutorial's loader."""
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import SGD

    def fit(after_step):
        class Step(Callback):
            def after_batch(self):
                after_step()

        loader = tutorial_loader(data)
        loaders = DataLoaders(loader, loader, device=torch.device("cpu"))
        learner = Learner(loaders, _Tutorial(), F.cross_entropy, opt_func=SGD, cbs=Step())
        with learner.no_logging():
            learner.fit(100, lr=1e-5)

    return _in_thread(fit)


def lightning(data: Dataset) -> Iterator[None]:
    """Lightning's Trainer on the tutorial's loader."""
    import lightning

    def fit(after_step):
        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = _Tutorial()

            def training_step(self, batch, _):
                return F.cross_entropy(self.model(batch[0]), batch[1])

            def on_train_batch_end(self, *_):
                after_step()

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=1e-5, momentum=0.9)

        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=100,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Module(), tutorial_loader(data))

    return _in_thread(fit)


OTHERS = {"fastai": fastai, "lightning": lightning}


def seconds(action: Callable[[], None], times: int, device: str = "cpu") -> float:
    """Seconds per call of `action`, as the mean of `times` calls in a row."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(times):
        action()
    wait()
    return (time.perf_counter() - start) / times


def matmul_rate(size: int = 2048, device: str = "cpu", dtype=torch.float32) -> float:
    """FLOP/s of this machine in a matrix product, by default in float32."""
    a, b = torch.rand(2, size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: a @ b, 1, device) for _ in range(5))


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


def peak_memory() -> float:
    """The peak resident memory, in bytes, of a new process that trains and tests."""
    script = """
import re, resource
from pathlib import Path
from clr.bench import step as bench
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


def report(against: list[str], rounds: int = 7, steps: int = 20) -> Iterator[str]:
    """The lines of the report; measures as it goes."""
    data = pixels()
    loops = {"ours": ours(data), "tutorial": tutorial(data)}
    loops |= {name: OTHERS[name](data) for name in against}
    for loop in loops.values():
        for _ in range(3):
            next(loop)
    times: dict[str, list[float]] = {name: [] for name in loops}
    rates = []
    for _ in range(rounds):
        for name, loop in loops.items():
            time.sleep(0.5)  # until the other loops' workers have filled their queues
            for _ in range(5):  # until this loop's queue is empty
                next(loop)
            times[name].append(seconds(lambda loop=loop: next(loop), steps))
        rates.append(matmul_rate())
    step = statistics.median(times["ours"])
    threads = torch.get_num_threads()
    yield f"cifar10_full, batch {BATCH}, {threads} threads, {rounds} rounds of {steps} steps:"
    for name, each in times.items():
        ratio = statistics.median(b / a for a, b in zip(times["ours"], each, strict=True))
        milliseconds = 1000 * statistics.median(each)
        yield f"  {name:10} {milliseconds:6.1f} ms per step, {ratio:.2f} times ours"
    operations, _ = work(CONFIG, data)
    floors = [operations / rate for rate in rates]
    share = statistics.median(f / t for f, t in zip(floors, times["ours"], strict=True))
    rate, floor = statistics.median(rates) / 1e9, 1000 * statistics.median(floors)
    yield f"  matrix products {rate:.0f} GFLOP/s, so convolutions take {floor:.1f} ms at least,"
    yield f"  which is {share:.2f} of our step"
    batches, training = Batches(data, BATCH, shuffle=False), Training(CONFIG, data)
    loading = seconds(lambda: next(batches), 200)
    testing = seconds(training.evaluate, 2)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        training.model(data.as_input(data.test_images[:BATCH]))
    least = counter.get_total_flops() * len(data.test_images) / BATCH / operations
    yield f"  loading takes {100 * loading / step:.1f} % of a step"
    share = 100 * testing / (500 * step)
    yield f"  testing every 500 iterations takes {share:.1f} % of the training time"
    yield f"  and {100 * least / 500:.1f} % of its operations"
    yield f"  peak memory {peak_memory() / 1e9:.2f} GB"
    yield from scheduler_report(rounds)
