"""The data sets as uint8 tensors, their download, and seeded batches of them.

`load(name)` takes `digits` (embedded in scikit-learn: no download), `text` (SymPy's source,
that comes with PyTorch), `mnist`, `cifar10`, `cifar100` (torchvision; looked for under
`CLR_DATA`, by default `data/cache`, and downloaded there if missing) or `folder:PATH`, a folder
with `train/<class>/` and `test/<class>/` of images.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import socket
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from clr import checks
from clr.paths import data_dir
from clr.training import text

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
        source = cls(start, Path(os.path.expanduser(path)))
        name = source.name.removeprefix("folder:")
        if not name:
            raise ValueError(allowed)
        if not name.isprintable() or set(name) & set(NOT_IN_A_NAME):
            raise ValueError(
                "dataset must name an image folder whose own name has no control character and "
                f"none of {' '.join(NOT_IN_A_NAME)}; got {text!r}"
            )
        return source

    @cached_property
    def name(self) -> str:
        """Its name in records: its kind, or "folder:NAME" with the last part of the path."""
        return self.kind if self.folder is None else f"folder:{self.folder.resolve().name}"

    @property
    def title(self) -> str:
        """Its name in tables and figures."""
        return title(self.name)

    @property
    def classes(self) -> int | None:
        """The number of classes; None for an image folder, where it depends on the folder."""
        return {"cifar100": 100, "text": 256, "folder": None}.get(self.kind, 10)

    def load(self) -> Dataset:
        """The data set.

        Raises ValueError for a folder that is not laid out as `train/<class>/` and
        `test/<class>/` or a text that is too short, ImportError without a text's package,
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
        train, test = len(self.train_labels), len(self.test_labels)
        numbers = f"{self.name}: {train:,} training and {test:,} test"
        if self.is_text:
            return f"{numbers} blocks of {self.image_shape[0]} bytes"
        channels, height, width = self.image_shape
        return (
            f"{numbers} images of {width} x {height} pixels, "
            f"{channels} channel{'s' * (channels > 1)}, {len(self.classes)} classes"
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

    @property
    def _tensors(self) -> tuple[torch.Tensor, ...]:
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the shapes, pixels and labels: equal for equal data."""
        digest = hashlib.sha256()
        for part in self._tensors:
            digest.update(str(tuple(part.shape)).encode())
            digest.update(part.cpu().contiguous().numpy())
        return digest.hexdigest()

    def to(self, device) -> Dataset:
        """The same data set with its tensors on `device`; itself if they are already there."""
        if self.train_images.device == torch.device(device):
            return self
        return Dataset(self.name, self.classes, *(part.to(device) for part in self._tensors))

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


def _torchvision(name):
    from torchvision import datasets  # takes a second, which the other data sets do not need

    classes = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}
    cls = classes.get(name, datasets.CIFAR100)
    train, test = downloaded(cls, data_dir())
    if name == "mnist":
        train.data, test.data = train.data[..., None], test.data[..., None]
    return _dataset(name, train.classes, train.data, train.targets, test.data, test.targets)


def _text(name):
    parts = text.split([path.read_bytes() for path in text.python_files()])
    return Dataset(name, tuple(map(str, range(256))), *parts)


_LOADERS = {
    "digits": _digits,
    "text": _text,
    "mnist": _torchvision,
    "cifar10": _torchvision,
    "cifar100": _torchvision,
}

# --- image folders --------------------------------------------------------------

IMAGES = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"}
GREY, COLOUR = ("L",), ("RGB", "RGBA", "P", "PA", "LA", "1", "CMYK", "YCbCr")  # 8 bits, or 1


def _folder(source: Source):
    path, left_out = source.folder, []
    for part in ("train", "test"):
        if not (path / part).is_dir():
            raise ValueError(
                f"dataset 'folder:{path}' has no folder {part}/; an image folder has "
                "train/<class>/ and test/<class>/ with images"
            )
    train, test = (_listed(source, part, left_out) for part in ("train", "test"))
    classes = sorted({label for _, label in train})
    if differ := {label for _, label in train} ^ {label for _, label in test}:
        raise ValueError(
            f"dataset 'folder:{path}': {sorted(differ)} is not in both train and test"
        )
    if left_out:
        warnings.warn(
            f"dataset 'folder:{path}': {len(left_out)} files that are not "
            f"{', '.join(sorted(IMAGES))} are left out, the first is {left_out[0]}",
            stacklevel=2,
        )
    for part in (train, test):
        # the files are listed class by class; in file order, as Caffe reads, the classes must
        # be mixed
        np.random.default_rng(0).shuffle(part)
    images = _decode([file for file, _ in (*train, *test)])
    labels = [classes.index(label) for _, label in (*train, *test)]
    n = len(train)
    return _dataset(source.name, classes, images[:n], labels[:n], images[n:], labels[n:])


def _listed(source: Source, part: str, left_out: list[Path]) -> list[tuple[Path, str]]:
    """(file, class) of the images in one part of a folder, in order; adds to `left_out`.

    Names that begin with a dot are not looked at, and links to folders are not followed below
    a class.
    """
    folder, found = source.folder / part, []
    for each in sorted(folder.iterdir()):
        if each.name.startswith(".") or not each.is_dir():
            continue
        files = []
        for place, folders, names in os.walk(each):
            folders[:] = [name for name in folders if not name.startswith(".")]
            files += [Path(place, name) for name in names if not name.startswith(".")]
        images = [file for file in files if file.suffix.lower() in IMAGES]
        if not images:
            raise ValueError(f"dataset 'folder:{source.folder}' has no image in {each}")
        left_out += sorted(set(files) - set(images))
        found += [
            (file, each.name)
            for file in sorted(images, key=lambda file: (str(file.parent), file.name))
        ]
    if not found:
        raise ValueError(f"dataset 'folder:{source.folder}' has no class in {part}/")
    return found


def _decode(files: list[Path]) -> np.ndarray:
    """The images as one (N, H, W, C) array, grey if all are."""
    grey = all(_opened(file, lambda picture: picture.mode in GREY) for file in files)
    mode, images = "L" if grey else "RGB", None
    for i, file in enumerate(files):
        pixels = np.atleast_3d(_opened(file, lambda picture: np.asarray(picture.convert(mode))))
        if images is None:
            images = np.empty((len(files), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise ValueError(
                f"dataset: {file} has {pixels.shape[:2]} pixels, the images before it "
                f"{images.shape[1:3]}; all must have the same size"
            )
        images[i] = pixels
    return images


def _opened(file: Path, read):
    """What `read` makes of an image; ValueError, naming the file, if it cannot be used."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.mode not in GREY + COLOUR:
                raise ValueError(
                    f"dataset: {file} has more than 8 bits per value (Pillow's mode "
                    f"{picture.mode}); save it with 8 bits"
                )
            return read(picture)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"dataset: cannot read the image {file}: {error}") from None


# --- downloads ------------------------------------------------------------------

TIMEOUT = 60.0  # seconds without an answer after which a server is given up
_changing_the_timeout = threading.Lock()


def downloaded(cls, root: Path) -> list:
    """[training set, test set] of a torchvision MNIST or CIFAR class under `root`.

    What is missing is downloaded by torchvision, which checks it, completely or not at all;
    other processes wait for that. A folder that holds the data is only read. Raises
    ConnectionError, naming what failed and what can be done, if the data can be neither found
    nor downloaded.
    """
    try:
        return _read(cls, root)
    except RuntimeError:  # torchvision found nothing, or a wrong checksum
        pass
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{cls.__name__}.download.lock"):
            try:
                return _read(cls, root)  # another process has just downloaded it
            except RuntimeError:
                _download(cls, root)
            return _read(cls, root)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise ConnectionError(
            f"could not download {cls.__name__} to {root}: {reason.rstrip('.')}. Nothing "
            "incomplete was kept. If you have the data elsewhere, let CLR_DATA name that "
            "folder; dataset='digits' needs no download"
        ) from error


def _read(cls, root: Path) -> list:
    return [cls(root, train=train) for train in (True, False)]


def _download(cls, root: Path):
    """Let torchvision download into a folder of its own, then move each file into place.

    torchvision writes directly to the files' final names. A broken download would stay there,
    and for MNIST also a half-unpacked file, because only its archives have checksums.
    """
    aside = root / f".{cls.__name__}.download"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    try:
        for name in _archives(cls):  # one that somebody put there need not be downloaded
            if (root / name).exists():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, aside / name)
        with _timeout(TIMEOUT):
            cls(aside, train=False, download=True)
        for file in [path for path in aside.rglob("*") if path.is_file()]:
            place = root / file.relative_to(aside)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _archives(cls) -> list[Path]:
    """The archives of a data set, as torchvision names them below its root."""
    if hasattr(cls, "resources"):  # MNIST
        return [Path(cls.__name__, "raw", name) for name, _ in cls.resources]
    return [Path(cls.filename)]


@contextmanager
def _timeout(seconds: float):
    """Give up connections that do not answer; torchvision has no argument for it.

    The default timeout belongs to the whole process, so one thread at a time changes it.
    """
    with _changing_the_timeout:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(seconds)
        try:
            yield
        finally:
            socket.setdefaulttimeout(before)


# --- batches --------------------------------------------------------------------


class Batches:
    """Endless training batches: (float32 images minus the mean image, labels).

    The order is a new permutation in every epoch (with `shuffle=False` it is the file order, in
    which Caffe reads). It depends only on `seed` and the position `iteration`, so setting
    `iteration` resumes exactly there. A batch that reaches the end of an epoch is filled from
    the next one. `flip` mirrors each image with probability one half. With
    `train_images=n` only the first n training images are drawn; the mean image is that of all
    training images.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        flip: bool = False,
        subtract_mean: bool = True,
        train_images: int | None = None,
    ):
        every = len(data.train_images)
        n = every if train_images is None else train_images
        self.n = checks.whole("train_images", n, high=every)
        self.batch_size = checks.whole("batch_size", batch_size, high=self.n)
        self.data, self.seed, self.shuffle, self.flip = data, seed, shuffle, flip
        self.subtract_mean = subtract_mean
        self.iteration = 0
        self._epochs: dict[int, tuple] = {}

    def state_dict(self) -> dict:
        """The position: `{"iteration": …}`."""
        return {"iteration": self.iteration}

    def load_state_dict(self, state: dict):
        """Go on at the position of `state`."""
        self.iteration = checks.whole("iteration", state["iteration"], low=0)

    def _epoch(self, epoch: int) -> tuple:
        """Order and flips of one epoch, on the data's device."""
        if epoch not in self._epochs:
            n, random = self.n, np.random.default_rng((self.seed, epoch))
            order = random.permutation(n) if self.shuffle else np.arange(n)
            flips = random.random(n) < 0.5
            device = self.data.train_images.device
            drawn = tuple(torch.from_numpy(a).to(device) for a in (order, flips))
            self._epochs = {k: v for k, v in self._epochs.items() if k == epoch - 1}
            self._epochs[epoch] = drawn
        return self._epochs[epoch]

    def __iter__(self):
        return self

    def __next__(self):
        return self.images(*self.draw())

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch's positions in the training set, and flips."""
        epoch, start = divmod(self.iteration * self.batch_size, self.n)
        drawn = [part[start : start + self.batch_size] for part in self._epoch(epoch)]
        if missing := self.batch_size - len(drawn[0]):
            following = self._epoch(epoch + 1)
            drawn = [torch.cat([a, b[:missing]]) for a, b in zip(drawn, following, strict=True)]
        self.iteration += 1
        return tuple(drawn)

    def images(self, order, flips) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch that was drawn: (images, labels)."""
        if self.data.is_text:
            some = self.data.train_images.index_select(0, order)
            return self.data.as_input(some), self.data.train_labels.index_select(0, order)
        rows = self.data.train_images.permute(0, 2, 3, 1).index_select(0, order)
        images = self.data.as_input(rows.permute(0, 3, 1, 2), self.subtract_mean)
        if self.flip:
            images = torch.where(flips[:, None, None, None], images.flip(-1), images)
        return images, self.data.train_labels[order]
