"""The range test of what is not a classifier with batches that are pairs of tensors."""

import itertools
import multiprocessing
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from clr.policies import RangeRamp
from clr.range_test import accuracy, lr_range_test

F = nn.functional


def run(
    model, batches, loss, *, iterations=120, top=0.02, optimizer=torch.optim.Adam, **kwargs
):
    return lr_range_test(
        model,
        batches,
        loss=loss,
        optimizer=optimizer(model.parameters(), lr=0.1),
        policy=RangeRamp(0.0, top, iterations),
        **kwargs,
    )


def learned(test, at_least):
    """It rose to `at_least`, and both bounds were read off."""
    bounds = test.bounds()
    assert test.column("train_accuracy")[0].max() >= at_least
    return 0 < bounds.base_lr < bounds.max_lr and bounds.why.startswith("read off")


def off_the_loss(test):
    """Without a metric, where the outputs are not for classes, the loss is read."""
    assert test.watched == "train_loss" and test.column("train_accuracy")[0].isna().all()
    bounds = test.bounds()
    assert bounds.method == "loss" and 0 < bounds.base_lr < bounds.max_lr


class Sequences(nn.Module):
    """Eight symbols, and for each place a score of each of eight symbols: (N, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.symbols, self.places = nn.Embedding(8, 16), nn.Parameter(0.1 * torch.randn(8, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.scores = nn.Linear(16, 8)

    def forward(self, symbols):
        return self.scores(self.encoder(self.symbols(symbols) + self.places))


def test_a_transformer_on_sequences():
    torch.manual_seed(0)
    loader = DataLoader(torch.randint(8, (512, 8)), 32, shuffle=True)
    kwargs = {"unpack": lambda x: (x, (x + 1) % 8)}
    model, loss = Sequences(), lambda scores, y: F.cross_entropy(scores.transpose(1, 2), y)
    right = run(
        model, loader, loss, metric=lambda s, y: (s.argmax(2) == y).float().mean(), **kwargs
    )
    assert learned(right, 0.9)
    # as many places as symbols: accuracy would compare places with symbols
    off_the_loss(run(model, loader, loss, **kwargs))


def test_a_hugging_face_model_with_batches_that_are_dicts():
    transformers = pytest.importorskip("transformers", reason="needs the 'interop' extra")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    ids, labels = torch.randint(2, 8, (256, 6)), torch.arange(256) % 2
    ids[:, 0] = labels  # the label stands at the first place
    rows = [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)]
    unpack, loss = lambda batch: (batch, batch["labels"]), lambda outputs, _: outputs.loss
    test = run(
        model, DataLoader(rows, 32, shuffle=True), loss, unpack=unpack,
        metric=lambda outputs, labels: accuracy(outputs.logits, labels),
    )  # fmt: skip
    assert learned(test, 0.95)
    off_the_loss(run(model, DataLoader(rows, 32, shuffle=True), loss, unpack=unpack))


def test_a_regression():
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 32, shuffle=True)

    def r2(outputs, targets):
        spread = (targets - targets.mean()).square().sum()
        return max(0.0, 1 - float((outputs - targets).square().sum() / spread))

    sgd = {"optimizer": torch.optim.SGD, "top": 0.3}
    assert learned(run(nn.Linear(4, 1), loader, F.mse_loss, metric=r2, **sgd), 0.95)
    off_the_loss(run(nn.Linear(4, 1), loader, F.mse_loss, **sgd))


def test_several_labels():
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    loader = DataLoader(TensorDataset(x, (x[:, :3] > 0).float()), 32, shuffle=True)
    kwargs = {"optimizer": torch.optim.SGD, "top": 10.0}
    loss = F.binary_cross_entropy_with_logits
    shares = lambda outputs, targets: ((outputs > 0) == targets.bool()).float().mean()  # noqa: E731
    assert learned(run(nn.Linear(4, 3), loader, loss, metric=shares, **kwargs), 0.95)
    off_the_loss(run(nn.Linear(4, 3), loader, loss, **kwargs))


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(4, 1), torch.zeros(4, 1)),
        (torch.zeros(4, 1), torch.zeros(4, dtype=torch.long)),
        (torch.zeros(4), torch.zeros(4)),
        (torch.zeros(4, 3), torch.zeros(4)),
        (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.long)),
        (torch.zeros(4, 3), torch.zeros(1, dtype=torch.long)),
        (torch.zeros(4, 3), torch.zeros(4, dtype=torch.bool)),
        (torch.zeros(4, 3, 3), torch.zeros(4, 3, dtype=torch.long)),
        ((torch.zeros(4, 3),), torch.zeros(4, dtype=torch.long)),
        ({"logits": torch.zeros(4, 3)}, torch.zeros(4, dtype=torch.long)),
    ],
)
def test_the_default_metric_is_for_classes_only(outputs, targets):
    with pytest.raises((ValueError, TypeError), match="accuracy is for .*; got .* and .*"):
        accuracy(outputs, targets)
    assert accuracy(torch.eye(3), torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)


class Wrapped(nn.Module):
    """A linear layer, whose outputs come in a `form`."""

    def __init__(self, form):
        super().__init__()
        self.layer, self.form = nn.Linear(4, 2), form

    def forward(self, x):
        return self.form(self.layer(x))


@pytest.mark.parametrize(
    ("form", "scores"),
    [
        (lambda y: (y, None), lambda outputs: outputs[0]),
        (lambda y: {"scores": y}, lambda outputs: outputs["scores"]),
        (lambda y: SimpleNamespace(scores=y), lambda outputs: outputs.scores),
    ],
    ids=["tuple", "dict", "object"],
)
def test_outputs_of_any_form_go_to_loss_and_metric(form, scores):
    labels = torch.arange(32) % 2
    batches = [(torch.randn(32, 4) + 3 * labels[:, None], labels)]
    torch.manual_seed(0)
    test = run(
        Wrapped(form), batches, lambda outputs, y: F.cross_entropy(scores(outputs), y),
        metric=lambda outputs, y: accuracy(scores(outputs), y),
    )  # fmt: skip
    torch.manual_seed(0)
    plain = run(Wrapped(lambda y: y), batches, F.cross_entropy)
    assert test.curves[0].equals(plain.curves[0])


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, left, right):
        return self.layer(left + right)


def test_batches_of_any_form_are_unpacked():
    x, weight, y = torch.randn(16, 4), torch.ones(16), torch.arange(16) % 2
    torch.manual_seed(0)
    model = Two()
    triple = run(
        model, [(x, weight, y)], F.cross_entropy,
        unpack=lambda batch: ({"left": batch[0], "right": 0.0}, batch[2]),
    )  # fmt: skip
    dicts = run(
        model, [{"x": x, "y": y}], F.cross_entropy,
        unpack=lambda batch: ({"left": batch["x"], "right": 0.0}, batch["y"]),
    )  # fmt: skip
    pairs = run(model, [({"left": x, "right": 0.0}, y)], F.cross_entropy)
    assert triple.curves[0].equals(pairs.curves[0]) and dicts.curves[0].equals(pairs.curves[0])
    sequences = [torch.arange(16).reshape(4, 4) % 3]  # a loader of batches that are tensors
    tokens = nn.Sequential(nn.Embedding(3, 4), nn.Flatten(), nn.Linear(12, 3))
    run(tokens, sequences, F.cross_entropy, unpack=lambda b: (b[:, :3], b[:, 3]))


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (torch.zeros(2, 4), r"got a tensor of shape \(2, 4\), float32"),
        ({"x": torch.zeros(2, 4), "y": torch.zeros(2)}, "got dict with the keys x, y"),
        ((torch.zeros(2, 4),) * 3, "got tuple of length 3"),
    ],
)
def test_a_batch_that_is_no_pair_asks_for_unpack(batch, says):
    with pytest.raises(TypeError, match=f"batches must yield pairs .*unpack must.*; {says}"):
        run(nn.Linear(4, 2), iter([batch]), F.cross_entropy)
    with pytest.raises(TypeError, match=r"unpack must .*; got None"):
        run(nn.Linear(4, 2), iter([batch]), F.cross_entropy, unpack=lambda batch: None)


def test_modules_keep_their_modes_and_batch_normalization_in_eval_mode_its_averages():
    data = [(torch.randn(16, 4) + 5, torch.arange(16) % 2)]
    model, seen = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)), []

    def loss(*x):
        seen.append(([m.training for m in model], model[0].running_mean.mean().item()))
        return F.cross_entropy(*x)

    for frozen in (True, False):
        model.train()
        model[0].train(not frozen)
        before = [module.training for module in model]
        run(model, data, loss, evaluate=lambda m: 0.5, iterations=4)
        assert [modes for modes, _ in seen] == [before] * 4
        assert all(mean == 0 for _, mean in seen) == frozen
        assert [module.training for module in model] == before
        seen.clear()
    model.eval()
    model[2].train()  # a head that is trained upon a model in eval mode
    run(model, data, loss, iterations=4)
    assert [modes for modes, _ in seen] == [[False, False, True]] * 4


class Noisy(Dataset):
    """Rows that a worker's own random state makes."""

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.rand(4) + i + np.random.rand() + random.random(), i % 2


@pytest.mark.parametrize("middle", [False, True], ids=["between passes", "within a pass"])
def test_persistent_workers_go_on_as_if_nothing_had_happened(middle):
    def drawn(test):
        model = nn.Linear(4, 2)
        torch.manual_seed(3)
        loader = DataLoader(Noisy(), 4, num_workers=1, persistent_workers=True, shuffle=True)
        batches = itertools.chain(iter(loader), loader)
        first = [next(batches)[0] for _ in range(1 if middle else 2)]
        if test:
            run(model, loader, F.cross_entropy, iterations=3, seeds=[0, 0])
            assert len(multiprocessing.active_children()) == 1
        return [*first, *(batch[0] for batch in batches)]

    expected = drawn(test=False)
    assert all(torch.equal(a, b) for a, b in zip(expected, drawn(test=True), strict=True))


def test_persistent_workers_draw_from_the_seed():
    loader = DataLoader(Noisy(), 4, num_workers=1, persistent_workers=True)
    list(loader)
    model = nn.Linear(4, 2)
    test = run(model, loader, F.cross_entropy, iterations=3, seeds=[0, 1, 0])
    assert test.curves[0].equals(test.curves[2])
    assert not test.curves[0].equals(test.curves[1])
