"""The small trainings on which finders of the learning rate are compared.

`DESIGN` are the tasks on which the rule for `Bounds.peak` was chosen. `JUDGED` are others,
which were written before that choice, and on which the rule was tried only after it was
committed. It gave no rate for one of them and was mended. `AGAIN` are tasks that were written
then, and on which the mended rule was tried only after it was committed. Nothing is downloaded:
the data are scikit-learn's or are drawn.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from sklearn.datasets import _samples_generator
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 400  # of a training


@dataclass(frozen=True)
class Task:
    """One training.

    `build()` returns (model, batches, evaluate), where `evaluate(model)` is the score on data
    that are not trained on; it is higher for a better model. The first weights and the order of
    the batches come from torch's random state. `usual` is the rate that people begin with.
    """

    name: str
    build: Callable[[], tuple[nn.Module, Batches, Callable[[nn.Module], float]]]
    loss: Callable[[Tensor, Any], Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    usual: float
    octaves: tuple[int, int]  # the powers of 2 that are tried as rates


class Batches:
    """Batches of tensors, in a new order in each pass."""

    def __init__(self, inputs: Tensor, targets: Tensor, size: int) -> None:
        self.inputs, self.targets, self.size = inputs, targets, size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.inputs))
        for rows in order[: len(order) - len(order) % self.size].split(self.size):
            yield self.inputs[rows], self.targets[rows]


def sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)


def parts(*arrays: Tensor, test: int) -> tuple[list[Tensor], list[Tensor]]:
    """(training rows, test rows) of each array; every `test`-th row is a test row."""
    held_out = torch.arange(len(arrays[0])) % test == 0
    return [a[~held_out] for a in arrays], [a[held_out] for a in arrays]


def digits(test: int = 3) -> tuple[list[Tensor], list[Tensor]]:
    """scikit-learn's digits: images (N, 1, 8, 8) from 0 to 1, and labels."""
    images, labels = datasets.load_digits(return_X_y=True)
    images = torch.tensor(images).float().reshape(-1, 1, 8, 8) / 16
    return parts(images, torch.tensor(labels), test=test)


def drawn(seed: int = 0) -> torch.Generator:
    """The random numbers of a data set, the same in each training."""
    return torch.Generator().manual_seed(seed)


def accuracy_on(inputs: Tensor, targets: Tensor) -> Callable[[nn.Module], float]:
    return lambda model: (model(inputs).argmax(1) == targets).float().mean().item()


def minus_loss_on(
    loss: Callable[[Tensor, Any], Tensor], inputs: Tensor, targets: Tensor
) -> Callable[[nn.Module], float]:
    return lambda model: -loss(model(inputs), targets).item()


# --- tasks of the design --------------------------------------------------------


def mlp():
    """The digits as they come, with pixels from 0 to 16."""
    (x, y), (test_x, test_y) = digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, Batches(16 * x, y, 32), accuracy_on(16 * test_x, test_y)


def cnn_with_batch_norm():
    (x, y), (test_x, test_y) = digits()
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip
    return model, Batches(x, y, 32), accuracy_on(test_x, test_y)


def imbalanced():
    """The digits, with a tenth of the images of 5 to 9; the score weighs classes equally."""
    (x, y), (test_x, test_y) = digits()
    keep = (y < 5) | (torch.arange(len(y)) % 10 == 0)

    def balanced(model):
        right = (model(test_x).argmax(1) == test_y).float()
        return torch.stack([right[test_y == c].mean() for c in range(10)]).mean().item()

    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip
    return model, Batches(x[keep], y[keep], 32), balanced


def cnn():
    (x, y), (test_x, test_y) = digits()
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(96, 10),
    )  # fmt: skip
    return model, Batches(x, y, 32), accuracy_on(test_x, test_y)


class Decoder(nn.Module):
    """A causal transformer with one layer, normalized before each part."""

    def __init__(self, symbols, length, width=48):
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.norm, self.scores = nn.LayerNorm(width), nn.Linear(width, symbols)
        self.mask = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, symbols):
        inner = self.symbols(symbols) + self.places
        return self.scores(self.norm(self.layer(inner, self.mask, is_causal=True)))


def next_symbol(scores: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


def characters():
    """The source text of a module of scikit-learn, by character."""
    text = inspect.getsource(_samples_generator)
    known = {symbol: i for i, symbol in enumerate(sorted(set(text)))}
    coded = torch.tensor([known[symbol] for symbol in text])
    blocks = coded[: len(coded) - len(coded) % 330].reshape(-1, 330)  # 10 rows of 33 symbols
    (blocks,), (test,) = parts(blocks, test=6)
    x, test = blocks.reshape(-1, 33), test.reshape(-1, 33)
    evaluate = minus_loss_on(next_symbol, test[:, :-1], test[:, 1:])
    return Decoder(len(known), 32), Batches(x[:, :-1], x[:, 1:], 16), evaluate


def regression():
    """Friedman's first function of 10 inputs, with noise."""
    x, y = datasets.make_friedman1(3000, noise=1.0, random_state=0)
    x, y = torch.tensor(x).float(), torch.tensor((y - y.mean()) / y.std()).float()[:, None]
    (x, y), test = parts(x, y, test=3)
    model = nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
    return model, Batches(x, y, 32), minus_loss_on(F.mse_loss, *test)


class Encoder(nn.Module):
    """A transformer with two layers, normalized after each part, as BERT is."""

    def __init__(self, symbols, length, classes, width=32):
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        nn.init.normal_(self.symbols.weight, std=0.02)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.scores = nn.Linear(width, classes)

    def forward(self, symbols):
        inner = self.norm(self.symbols(symbols) + self.places)
        return self.scores(self.layers(inner)[:, 0])


def encoder():
    """Whether the first of five symbols occurs again; there are six symbols."""
    x = torch.randint(6, (4500, 5), generator=drawn())
    y = (x[:, 1:] == x[:, :1]).any(1).long()
    (x, y), test = parts(x, y, test=3)
    return Encoder(6, 5, 2), Batches(x, y, 32), accuracy_on(*test)


DESIGN = (
    Task("MLP, SGD", mlp, F.cross_entropy, sgd, 0.1, (-14, 0)),
    Task("CNN with batch norm, SGD", cnn_with_batch_norm, F.cross_entropy, sgd, 0.1, (-9, 4)),
    Task("imbalanced classes, SGD", imbalanced, F.cross_entropy, sgd, 0.1, (-9, 3)),
    Task("CNN, AdamW", cnn, F.cross_entropy, adamw, 0.01, (-14, 0)),
    Task("characters, AdamW", characters, next_symbol, adamw, 0.01, (-14, 0)),
    Task("regression, Adam", regression, F.mse_loss, torch.optim.Adam, 0.01, (-14, 0)),
    Task("small BERT, AdamW", encoder, F.cross_entropy, adamw, 0.01, (-15, -2)),
)


# --- tasks of the judgement -----------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, classes, width=32):
        super().__init__()
        self.cells = nn.GRU(1, width, batch_first=True)
        self.scores = nn.Linear(width, classes)

    def forward(self, x):
        return self.scores(self.cells(x)[1][0])


def waves():
    """Which of four frequencies a noisy sine of 24 values has."""
    n = 3000
    y = torch.randint(4, (n,), generator=drawn())
    phase = 2 * math.pi * torch.rand(n, 1, generator=drawn(1))
    time = torch.arange(24) / 24
    x = torch.sin(2 * math.pi * (2 + y[:, None]) * time + phase)
    x = x + 0.5 * torch.randn(n, 24, generator=drawn(2))
    (x, y), test = parts(x[..., None], y, test=3)
    return Recurrent(4), Batches(x, y, 32), accuracy_on(*test)


def rmsprop(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=lr, alpha=0.99)


def to_images(outputs: Tensor, images: Tensor) -> Tensor:
    return F.mse_loss(outputs, images)


def autoencoder():
    """The digits, through eight numbers."""
    (x, _), (test, _) = digits()
    x, test = x.flatten(1), test.flatten(1)
    model = nn.Sequential(
        nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 8), nn.Linear(8, 48), nn.Tanh(),
        nn.Linear(48, 64),
    )  # fmt: skip
    return model, Batches(x, x, 32), minus_loss_on(to_images, test, test)


def nesterov(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)


def wrong_labels():
    """Clusters of 20 numbers in 8 classes; a fifth of the labels to train on is wrong."""
    x, y = datasets.make_classification(
        5000, 20, n_informative=10, n_redundant=4, n_classes=8, class_sep=1.5, random_state=0
    )
    x, y = torch.tensor(x).float(), torch.tensor(y)
    (x, y), test = parts(x, y, test=3)
    wrong = torch.rand(len(y), generator=drawn()) < 0.2
    y = torch.where(wrong, torch.randint(8, (len(y),), generator=drawn(1)), y)
    inner = [
        layer
        for _ in range(4)
        for layer in (nn.Linear(48, 48), nn.LayerNorm(48), nn.GELU(), nn.Dropout(0.1))
    ]
    model = nn.Sequential(nn.Linear(20, 48), *inner, nn.Linear(48, 8))
    return model, Batches(x, y, 64), accuracy_on(*test)


def plain_cnn():
    (x, y), (test_x, test_y) = digits()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip
    return model, Batches(x, y, 64), accuracy_on(test_x, test_y)


def plain_sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr)


def fine_tuning():
    """A network that has learned the digits 0 to 4 learns 5 to 9 from 160 images."""
    (x, y), (test_x, test_y) = digits()
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(),
        nn.Linear(96, 5),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    low = Batches(x[y < 5], y[y < 5], 32)
    for _ in range(10):
        for inputs, labels in low:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    model[-1].reset_parameters()
    x, y, test_x, test_y = x[y > 4], y[y > 4] - 5, test_x[test_y > 4], test_y[test_y > 4] - 5
    return model, Batches(x[:160], y[:160], 16), accuracy_on(test_x, test_y)


class Factors(nn.Module):
    """The product of a vector per row and one per column."""

    def __init__(self, rows, columns, width=8):
        super().__init__()
        self.rows, self.columns = nn.Embedding(rows, width), nn.Embedding(columns, width)
        for each in (self.rows, self.columns):
            nn.init.normal_(each.weight, std=0.1)

    def forward(self, pairs):
        return (self.rows(pairs[:, 0]) * self.columns(pairs[:, 1])).sum(1)


def factorization():
    """A matrix of rank 4 with noise, of which a third of the entries is known."""
    truth = torch.randn(80, 4, generator=drawn()) @ torch.randn(4, 60, generator=drawn(1)) / 2
    truth = truth + 0.2 * torch.randn(80, 60, generator=drawn(2))
    order = torch.randperm(80 * 60, generator=drawn(3))[:2400]
    pairs = torch.stack([order // 60, order % 60], 1)
    (x, y), test = parts(pairs, truth.flatten()[order], test=3)
    return Factors(80, 60), Batches(x, y, 64), minus_loss_on(F.mse_loss, *test)


JUDGED = (
    Task("GRU, RMSprop", waves, F.cross_entropy, rmsprop, 0.01, (-14, 0)),
    Task("autoencoder, Nesterov", autoencoder, to_images, nesterov, 0.1, (-8, 6)),
    Task("wrong labels, AdamW", wrong_labels, F.cross_entropy, adamw, 0.01, (-14, 0)),
    Task("CNN, plain SGD", plain_cnn, F.cross_entropy, plain_sgd, 0.1, (-8, 4)),
    Task("fine-tuning, Adam", fine_tuning, F.cross_entropy, torch.optim.Adam, 0.01, (-14, 0)),
    Task(
        "factorization, Adagrad", factorization, F.mse_loss, torch.optim.Adagrad, 0.01, (-8, 4)
    ),
)

# --- tasks of a second judgement, written when the first had been seen -----------------


def parity():
    """The parity of five of twelve bits."""
    x = torch.randint(2, (4500, 12), generator=drawn()).float()
    y = (x[:, :5].sum(1) % 2).long()
    (x, y), test = parts(2 * x - 1, y, test=3)
    model = nn.Sequential(
        nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    return model, Batches(x, y, 64), accuracy_on(*test)


class Residual(nn.Module):
    """Blocks with batch normalization, whose outputs are added to their inputs."""

    def __init__(self, inputs, classes, width=48):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, classes)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(4)
        )

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def residual():
    x, y = datasets.make_classification(
        6000, 30, n_informative=12, n_redundant=6, n_classes=6, random_state=1
    )
    (x, y), test = parts(torch.tensor(x).float(), torch.tensor(y), test=3)
    return Residual(30, 6), Batches(x, y, 64), accuracy_on(*test)


def some_answers(outputs: Tensor, answers: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, answers)


def answers():
    """Three questions about each of the digits, of which a linear model sees the pixels."""
    (x, y), (test_x, test_y) = digits()

    def asked(y):
        enclose = torch.isin(y, torch.tensor([0, 6, 8, 9]))
        return torch.stack([y % 2 == 0, y >= 5, enclose], 1).float()

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    right = lambda m: ((m(test_x) > 0) == asked(test_y).bool()).float().mean().item()  # noqa: E731
    return model, Batches(x, asked(y), 32), right


class Sorter(nn.Module):
    """For each place, a score per symbol; normalized before each part."""

    def __init__(self, symbols, length, width=32):
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 64, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.scores = nn.LayerNorm(width), nn.Linear(width, symbols)

    def forward(self, symbols):
        return self.scores(self.norm(self.layers(self.symbols(symbols) + self.places)))


def sorting():
    """Eight symbols of ten, in rising order."""
    x = torch.randint(10, (4500, 8), generator=drawn())
    (x, y), test = parts(x, x.sort(1).values, test=5)
    return Sorter(10, 8), Batches(x, y, 32), minus_loss_on(next_symbol, *test)


def counts_loss(outputs: Tensor, counts: Tensor) -> Tensor:
    return F.poisson_nll_loss(outputs, counts)


def counts():
    """Counts that depend on ten numbers; the loss is a negative log-likelihood."""
    x = torch.randn(4500, 10, generator=drawn())
    rate = torch.exp(0.5 + 0.4 * x[:, 0] - 0.4 * x[:, 1] * x[:, 2] + 0.3 * x[:, 3].sin())
    y = torch.poisson(rate, generator=drawn(1))[:, None]
    (x, y), test = parts(x, y, test=3)
    model = nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, 1))
    return model, Batches(x, y, 32), minus_loss_on(counts_loss, *test)


def unscaled():
    """The progress of diabetes in its own unit, of 25 to 346."""
    x, y = datasets.load_diabetes(return_X_y=True)
    x, y = torch.tensor(x / x.std(0)).float(), torch.tensor(y).float()[:, None]
    (x, y), test = parts(x, y, test=4)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
    return model, Batches(x, y, 32), minus_loss_on(F.mse_loss, *test)


def nadam(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.NAdam(parameters, lr=lr)


AGAIN = (
    Task("parity, Adam", parity, F.cross_entropy, torch.optim.Adam, 0.01, (-14, 0)),
    Task("residual with batch norm, SGD", residual, F.cross_entropy, nesterov, 0.1, (-9, 4)),
    Task("answers, plain SGD", answers, some_answers, plain_sgd, 0.1, (-7, 7)),
    Task("sorting, NAdam", sorting, next_symbol, nadam, 0.01, (-14, 0)),
    Task("counts, SGD", counts, counts_loss, sgd, 0.1, (-12, 2)),
    Task("unscaled targets, Adam", unscaled, F.mse_loss, torch.optim.Adam, 0.01, (-10, 6)),
)

TASKS = {task.name: task for task in (*DESIGN, *JUDGED, *AGAIN)}


def build(task: Task, seed: int) -> tuple[nn.Module, Batches, Callable[[nn.Module], float]]:
    """The parts of a training whose random numbers begin at `seed`."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    return task.build()
