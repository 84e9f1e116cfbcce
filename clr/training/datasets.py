"""The data sets, as uint8 tensors.

`load(name)` takes `digits` (embedded in scikit-learn: no download), `text` (SymPy's source,
that comes with PyTorch), `mnist`, `cifar10`, `cifar100` (torchvision; looked for under
`CLR_DATA`, by default `data/cache`, and downloaded there if missing) or `folder:PATH`, a folder
with `train/<class>/` and `test/<class>/` of images.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch

from clr.paths import data_dir

NOT_IN_A_NAME = '<>"|`'  # an image folder's name is shown in HTML and in Markdown


@dataclass(frozen=True)
class Source:
    """The parsed name of a data set: its kind and, for an image folder, its path.

    `Source.parse` reads it. `kind` is "digits", "text", "mnist", "cifar10", "cifar100" or
    "folder".
    """

    kind: str
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """The source that is called digits, text, mnist, cifar10, cifar100 or folder:PATH.

        Raises ValueError or TypeError for anything else. An image folder need not exist.
        """
        allowed = f"dataset must be one of {', '.join(_LOADERS)}, folder:PATH; got {text!r}"
        if not isinstance(text, str):
            raise TypeError(allowed)
        if text in _LOADERS:
            return cls(text)
        start, _, path = text.partition(":")
        if start != "folder" or not path or "\0" in path:
            raise ValueError(allowed)
        folder = Path(os.path.expanduser(path))
        if not (name := folder.resolve().name):
            raise ValueError(allowed)
        if not name.isprintable() or set(name) & set(NOT_IN_A_NAME):
            raise ValueError(
                "dataset must name an image folder whose own name has no control character and "
                f"none of {' '.join(NOT_IN_A_NAME)}; got {text!r}"
            )
        return cls("folder", folder)

    @property
    def name(self) -> str:
        """Its name in records: its kind, or "folder:NAME" with the last part of the path."""
        return self.kind if self.folder is None else f"folder:{self.folder.resolve().name}"

    @property
    def title(self) -> str:
        """Its name in tables and figures."""
        return title(self.name)

    @property
    def embedded(self) -> bool:
        """Whether the data comes with an installed package and needs no download."""
        return self.kind in ("digits", "text")

    @property
    def classes(self) -> int | None:
        """The number of classes; None for an image folder, where it depends on the folder."""
        return {"cifar100": 100, "text": 256, "folder": None}.get(self.kind, 10)

    def here(self) -> bool:
        """False for an image folder that has no train/, True for every other source."""
        return self.folder is None or (self.folder / "train").is_dir()

    def load(self) -> Dataset:
        """The data set.

        Raises ValueError for a folder that is not laid out as `train/<class>/` and
        `test/<class>/`, ModuleNotFoundError when the package of a text is missing,
        ConnectionError when a download fails.
        """
        return _folder(self) if self.kind == "folder" else _LOADERS[self.kind](self.kind)


_TITLES = {
    "text": "text (SymPy's source)",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "folder:cifar10-jpeg": "CIFAR-10 (JPEG copy)",
}


def title(name: str) -> str:
    """The name in tables and figures of the data set that is `name` in records."""
    return _TITLES.get(name, name.removeprefix("folder:"))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images, uint8 of shape (N, C, H, W), and labels, int64 (N,).

    For text, an image is a block of bytes, uint8 of shape (N, block), and the labels are the
    bytes that follow, int64 of the same shape.
    """

    name: str
    classes: tuple[str, ...]
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor

    def __str__(self):
        if self.is_text:
            train, test = len(self.train_labels), len(self.test_labels)
            return (
                f"{self.name}: {train:,} training and {test:,} test blocks of "
                f"{self.image_shape[0]} bytes"
            )
        channels, height, width = self.image_shape
        train, test = len(self.train_labels), len(self.test_labels)
        return (
            f"{self.name}: {train:,} training and {test:,} test images of {width} x {height} "
            f"pixels, {channels} channel{'s' * (channels > 1)}, {len(self.classes)} classes"
        )

    @property
    def is_text(self) -> bool:
        """Whether it holds blocks of bytes and not images."""
        return self.train_images.dim() == 2

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image, or (bytes,) of a block of text."""
        return tuple(self.train_images.shape[1:])

    @cached_property
    def mean(self) -> torch.Tensor:
        """The training images' mean image, float32 of shape (C, H, W)."""
        pixels = self.train_images.permute(0, 2, 3, 1)  # in memory order
        with torch.inference_mode(False):  # cached; the first call may come from a test
            # a chunk's sums stay below 2**24, up to which float32 holds integers exactly
            total = sum(chunk.float().sum(0).double() for chunk in pixels.split(5000))
            return (total / len(pixels)).float().permute(2, 0, 1)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the shapes, pixels and labels: equal for equal data."""
        digest = hashlib.sha256()
        parts = self.train_images, self.train_labels, self.test_images, self.test_labels
        for part in parts:
            digest.update(str(tuple(part.shape)).encode())
            digest.update(part.cpu().contiguous().numpy())
        return digest.hexdigest()

    def to(self, device) -> Dataset:
        """The same data set with its tensors on `device`; itself if they are already there."""
        if self.train_images.device == torch.device(device):
            return self
        parts = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return Dataset(self.name, self.classes, *(part.to(device) for part in parts))

    def as_input(self, images: torch.Tensor, subtract_mean: bool = True) -> torch.Tensor:
        """uint8 images as a network takes them: float32, channels last in memory.

        The bytes of a text become int64.
        """
        if self.is_text:
            return images.long()
        pixels = images.permute(0, 2, 3, 1).to(torch.float32, copy=True)  # in memory order
        if subtract_mean:
            pixels -= self.mean.permute(1, 2, 0)
        return pixels.permute(0, 3, 1, 2)


def load(name: str) -> Dataset:
    """The data set `name`: digits, text, mnist, cifar10, cifar100 or folder:PATH.

    Raises what `Source.parse` and `Source.load` raise.
    """
    return Source.parse(name).load()


def _dataset(name, classes, train_images, train_labels, test_images, test_labels):
    """A Dataset from arrays, with images of shape (N, H, W, C); memory stays channels last."""

    def images(array):
        return torch.from_numpy(np.ascontiguousarray(array, np.uint8)).permute(0, 3, 1, 2)

    def labels(values):
        return torch.as_tensor(np.asarray(values, dtype=np.int64))

    train = images(train_images), labels(train_labels)
    return Dataset(name, tuple(classes), *train, images(test_images), labels(test_labels))


def _digits(name):
    """1,797 digits of 8x8 pixels, scaled from 0..16 to 0..255; every fifth is for testing."""
    # scikit-learn's file is read directly: importing scikit-learn takes a second per process
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(file, delimiter=",")
    pixels = np.round(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16))
    labels = table[:, -1].astype(int)
    test = np.arange(len(labels)) % 5 == 4
    return _dataset(
        name, "0123456789", pixels[~test], labels[~test], pixels[test], labels[test]
    )


def _mnist(name):
    from torchvision import datasets

    from clr.training.download import torchvision_dataset

    train, test = torchvision_dataset(datasets.MNIST, data_dir())
    pixels = train.data[..., None], test.data[..., None]
    return _dataset(name, train.classes, pixels[0], train.targets, pixels[1], test.targets)


def _cifar(name):
    from torchvision import datasets

    from clr.training.download import torchvision_dataset

    cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    train, test = torchvision_dataset(cls, data_dir())
    return _dataset(name, train.classes, train.data, train.targets, test.data, test.targets)


def _text(name):
    from clr.training import text

    parts = text.split([path.read_bytes() for path in text.python_files()])
    return Dataset(name, tuple(map(str, range(256))), *parts)


_LOADERS = {
    "digits": _digits,
    "text": _text,
    "mnist": _mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
}


def _folder(source: Source):
    from torchvision.datasets import ImageFolder

    path = source.folder
    for part in ("train", "test"):
        if not (path / part).is_dir():
            raise ValueError(
                f"dataset 'folder:{path}' has no folder {part}/; an image folder "
                "has train/<class>/ and test/<class>/ with images"
            )
    parts = {}
    for part in ("train", "test"):
        try:
            parts[part] = ImageFolder(path / part)
        except FileNotFoundError as error:
            raise ValueError(f"dataset 'folder:{path}', {part}/: {error}") from None
    if parts["train"].classes != parts["test"].classes:
        differ = set(parts["train"].classes) ^ set(parts["test"].classes)
        raise ValueError(
            f"dataset 'folder:{path}': {sorted(differ)} is not in both train and test"
        )
    for part in parts.values():
        # the files are listed class by class; in file order, as Caffe reads, the classes must
        # be mixed
        np.random.default_rng(0).shuffle(part.samples)
    train, test = parts.values()
    images, labels = _decode([*train.samples, *test.samples])
    n = len(train.samples)
    return _dataset(source.name, train.classes, images[:n], labels[:n], images[n:], labels[n:])


def _decode(samples, mode="L"):
    """The images as one (N, H, W, C) array, grey if all are, and the labels."""
    from PIL import Image

    images = None
    for i, (file, _) in enumerate(samples):
        try:
            with Image.open(file) as picture:
                if mode == "L" != picture.mode:
                    return _decode(samples, "RGB")
                pixels = np.atleast_3d(np.asarray(picture.convert(mode)))
        except OSError as error:
            raise ValueError(f"dataset: cannot read the image {file}: {error}") from None
        if images is None:
            images = np.empty((len(samples), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            height, width = images.shape[1:3]
            raise ValueError(
                f"dataset: {file} has {pixels.shape[:2]} pixels, the images before it "
                f"{(height, width)}; all must have the same size"
            )
        images[i] = pixels
    return images, [label for _, label in samples]
