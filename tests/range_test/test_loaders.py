"""The next pass over a loader after a range test is what it would have been without it."""

import itertools
import math
import random
import warnings
import weakref
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    TensorDataset,
    default_collate,
)

from clr.policies import RangeRamp
from clr.range_test import lr_range_test

N = 24


class Rows(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        return torch.full((4,), float(i)) + torch.rand(1), i % 2


def data():
    return TensorDataset(torch.arange(N).float()[:, None].repeat(1, 4), torch.arange(N) % 2)


MODEL = nn.Linear(4, 2)


def range_test(loader, **more):
    lr_range_test(
        MODEL,
        loader,
        loss=nn.functional.cross_entropy,
        optimizer=torch.optim.SGD(MODEL.parameters(), lr=0.1),
        policy=RangeRamp(0.0, 1e-3, 11),  # in the middle of a pass
        **more,
    )


def passes(make, before, test):
    """The batches of two passes, after `before` batches and perhaps a range test."""
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    loader = make()
    drawn = list(itertools.islice(loader, before))
    if test:
        range_test(loader)
    drawn += [*loader, *loader]
    return [batch[0].tolist() for batch in drawn]


def untouched(make, before=0):
    """Whether a loader's passes are the same with and without a range test; no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # torchdata's
        tested = passes(make, before, test=True)
    expected = passes(make, before, test=False)
    assert len(expected) > before + 10
    return tested == expected


class OwnShuffle(Sampler):
    """Shuffles its own list, so that each order depends on the one before."""

    def __init__(self, generator):
        self.order, self.generator, self.epoch = [*range(N)], generator, 0

    def __iter__(self):
        self.epoch += 1
        self.generator.shuffle(self.order)
        return iter(self.order)

    def __len__(self):
        return N


class OwnArray(OwnShuffle):
    def __init__(self, generator):
        super().__init__(generator)
        self.order = np.arange(N)


@pytest.mark.parametrize("before", [0, 2, N // 4])
@pytest.mark.parametrize(
    "sampler",
    [
        lambda: OwnShuffle(random.Random(3)),
        lambda: OwnArray(np.random.default_rng(3)),
        lambda: OwnArray(np.random.RandomState(3)),
    ],
    ids=["random.Random", "numpy's Generator", "numpy's RandomState"],
)
def test_samplers_with_a_state_of_their_own(sampler, before):
    assert untouched(lambda: DataLoader(data(), 4, sampler=sampler()), before)


class Noise:
    """A transform or a `collate_fn`; without a generator, it makes one when it is called."""

    def __init__(self, generator=None):
        self.generator = generator

    def __call__(self, value):
        self.generator = self.generator or np.random.default_rng(5)
        if isinstance(value, list):
            value = default_collate(value)
            return value[0] + self.generator.normal(), value[1]
        return value + self.generator.normal()


class Transformed(Dataset):
    def __init__(self, transforms):
        self.transforms = transforms

    def __len__(self):
        return N

    def __getitem__(self, i):
        x = torch.full((4,), float(i))
        for each in self.transforms:
            x = each(x)
        return x, i % 2


def noisy(rows, generator):
    x, y = default_collate(rows)
    return x + generator.normal(), y


def closure(generator):
    return lambda rows: noisy(rows, generator)


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(Transformed([Noise(np.random.default_rng(3))]), 4),
        lambda: DataLoader(data(), 4, collate_fn=Noise(np.random.default_rng(3))),
        lambda: DataLoader(data(), 4, collate_fn=Noise()),
        lambda: DataLoader(data(), 4, collate_fn=Noise(np.random.default_rng(3)).__call__),
        lambda: DataLoader(
            data(), 4, collate_fn=partial(noisy, generator=np.random.default_rng(3))
        ),
        lambda: DataLoader(data(), 4, collate_fn=closure(np.random.default_rng(3))),
    ],
    ids=["transform", "collate_fn", "made when called", "method", "partial", "closure"],
)
def test_generators_that_lie_deeper(make, before):
    assert untouched(make, before)


class Own(DataLoader):
    """One of which a range test cannot know what it does."""


@dataclass(slots=True, eq=False)
class Slots:
    x: torch.Tensor
    y: torch.Tensor
    more: object = math.nan


class Inner:
    def __init__(self, x, y):
        self.x, self.y, self.me, self.weak = x.to_sparse(), y, self, weakref.ref(self)


@pytest.mark.parametrize("kind", [Slots, Inner])
def test_batches_of_any_class_are_compared(kind):
    loader = Own(data(), 4, collate_fn=lambda rows: kind(*default_collate(rows)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        range_test(loader, unpack=lambda batch: (batch.x.to_dense(), batch.y))


def test_batches_that_cannot_be_compared_give_a_warning_and_no_error():
    class Odd:
        def __getstate__(self):
            raise ArithmeticError

    loader = Own(data(), 4, collate_fn=lambda rows: (*default_collate(rows), Odd()))
    with pytest.warns(UserWarning, match="batches: the next pass is not what"):
        range_test(loader, unpack=lambda batch: batch[:2])


@pytest.mark.parametrize("before", [0, 2, N // 4])
@pytest.mark.parametrize("workers", [{}, {"num_workers": 1}, {"num_workers": 1, "keep": True}])
def test_torchdata_loaders_with_a_state(before, workers):
    pytest.importorskip("torchdata", reason="needs the 'interop' extra")
    from torchdata.stateful_dataloader import StatefulDataLoader

    workers = dict(workers)
    keep = {"persistent_workers": workers.pop("keep", False)}
    assert untouched(
        lambda: StatefulDataLoader(Rows(), 4, shuffle=True, **workers, **keep), before
    )


def test_a_torchdata_loader_that_is_to_go_on_in_the_middle():
    pytest.importorskip("torchdata", reason="needs the 'interop' extra")
    from torchdata.stateful_dataloader import StatefulDataLoader

    def lengths(test):
        loader = StatefulDataLoader(data(), 4)
        next(iter(loader)), next(iter(loader))
        loader.load_state_dict(loader.state_dict())
        if test:
            range_test(loader)
        return [len(list(loader)) for _ in range(2)]

    assert lengths(True) == lengths(False) == [5, 6]


@pytest.mark.parametrize("before", [0, 2, N // 4])
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("seedable", [False, True])
def test_loaders_that_accelerate_has_prepared(before, stateful, seedable):
    accelerate = pytest.importorskip("accelerate", reason="needs the 'interop' extra")
    if stateful:
        pytest.importorskip("torchdata", reason="needs the 'interop' extra")
    config = accelerate.DataLoaderConfiguration(
        use_stateful_dataloader=stateful, use_seedable_sampler=seedable
    )
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=config)
    assert untouched(lambda: accelerator.prepare(DataLoader(data(), 4, shuffle=True)), before)
    assert not accelerator.gradient_state.in_dataloader


def test_the_loader_of_a_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the 'interop' extra")
    rows = [{"input_ids": [i % 4], "labels": i % 2} for i in range(N)]
    trainer = transformers.Trainer(
        nn.Linear(1, 1),
        transformers.TrainingArguments(
            str(tmp_path),
            per_device_train_batch_size=4,
            use_cpu=True,
            remove_unused_columns=False,
        ),
        train_dataset=rows,
    )
    model = nn.Sequential(nn.Embedding(4, 2), nn.Flatten())

    def drawn(test):
        torch.manual_seed(1)
        loader = trainer.get_train_dataloader()
        if test:
            lr_range_test(
                model,
                loader,
                unpack=lambda batch: (batch["input_ids"], batch["labels"]),
                loss=nn.functional.cross_entropy,
                optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
                policy=RangeRamp(0.0, 1e-3, 8),
            )
        return [batch["input_ids"].tolist() for batch in loader]

    assert len(drawn(test=True)) == 6 and drawn(test=True) == drawn(test=False)


class Nested:
    """A loader whose position is in an object of its own."""

    def __init__(self, with_state):
        self.position = type("Position", (), {"value": 0})()
        if with_state:
            self.state_dict = lambda: {"value": self.position.value}
            self.load_state_dict = lambda state: setattr(self.position, "value", state["value"])

    def __iter__(self):
        return self

    def __next__(self):
        self.position.value += 1
        return torch.full((4, 4), float(self.position.value)), torch.arange(4) % 2


class Stream(IterableDataset):
    def __init__(self):
        self.values = iter(range(10_000))

    def __iter__(self):
        return ((torch.full((4,), float(i)), i % 2) for i in self.values)


def test_a_state_is_loaded_where_a_loader_has_one_of_its_own():
    loader = Nested(with_state=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        range_test(loader)
    assert next(loader)[0][0, 0] == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Nested(with_state=False),
        lambda: DataLoader(Stream(), 4),
        lambda: iter([*DataLoader(data(), 1)]),
        lambda: (batch for batch in DataLoader(data(), 1)),
    ],
    ids=["a hidden position", "a stream", "an iterator", "a generator"],
)
def test_where_the_next_pass_cannot_be_promised_the_test_says_so(make):
    with pytest.warns(
        UserWarning, match="batches: the next pass is not what it would have been"
    ):
        range_test(make())
