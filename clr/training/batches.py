"""Seeded training batches with an exact position."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from clr import checks
from clr.training.datasets import Dataset


class Batches:
    """Endless training batches: (float32 images minus the mean image, labels).

    The order is a new permutation in every epoch (with `shuffle=False` it is the file order, in
    which Caffe reads). It depends only on `seed` and the position `iteration`, so setting
    `iteration` resumes exactly there. A batch that reaches the end of an epoch is filled from
    the next one. `flip` mirrors each image with probability one half. With `crop=n` images are
    padded by n zeros and cut at random. With `train_images=n` only the first n training images
    are drawn; the mean image is that of all training images.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        flip: bool = False,
        crop: int = 0,
        subtract_mean: bool = True,
        train_images: int | None = None,
    ):
        every = len(data.train_images)
        n = every if train_images is None else train_images
        self.n = checks.whole("train_images", n, high=every)
        self.batch_size = checks.whole("batch_size", batch_size, high=self.n)
        self.data, self.seed, self.shuffle, self.flip = data, seed, shuffle, flip
        self.subtract_mean = subtract_mean
        self.crop = checks.whole("crop", crop, low=0)
        self.iteration = 0
        self._epochs: dict[int, tuple] = {}

    def state_dict(self) -> dict:
        """The position: `{"iteration": …}`."""
        return {"iteration": self.iteration}

    def load_state_dict(self, state: dict):
        """Go on at the position of `state`."""
        self.iteration = checks.whole("iteration", state["iteration"], low=0)

    def _epoch(self, epoch: int) -> tuple:
        """Order, flips and crop offsets of one epoch, on the data's device."""
        if epoch not in self._epochs:
            n, random = self.n, np.random.default_rng((self.seed, epoch))
            order = random.permutation(n) if self.shuffle else np.arange(n)
            flips = random.random(n) < 0.5
            offsets = random.integers(0, 2 * self.crop + 1, size=(n, 2))
            device = self.data.train_images.device
            drawn = tuple(torch.from_numpy(a).to(device) for a in (order, flips, offsets))
            self._epochs = {k: v for k, v in self._epochs.items() if k == epoch - 1}
            self._epochs[epoch] = drawn
        return self._epochs[epoch]

    def __iter__(self):
        return self

    def __next__(self):
        return self.images(*self.draw())

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The next batch's positions in the training set, flips and crop offsets."""
        epoch, start = divmod(self.iteration * self.batch_size, self.n)
        drawn = [part[start : start + self.batch_size] for part in self._epoch(epoch)]
        if missing := self.batch_size - len(drawn[0]):
            following = self._epoch(epoch + 1)
            drawn = [torch.cat([a, b[:missing]]) for a, b in zip(drawn, following, strict=True)]
        self.iteration += 1
        return tuple(drawn)

    def images(self, order, flips, offsets) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch that was drawn: (images, labels)."""
        if self.data.is_text:
            some = self.data.train_images.index_select(0, order)
            return self.data.as_input(some), self.data.train_labels.index_select(0, order)
        rows = self.data.train_images.permute(0, 2, 3, 1).index_select(0, order)
        images = self.data.as_input(rows.permute(0, 3, 1, 2), self.subtract_mean)
        if self.crop:
            images = _crop(images, offsets, self.crop)
        if self.flip:
            images = torch.where(flips[:, None, None, None], images.flip(-1), images)
        return images, self.data.train_labels[order]


def _crop(images, offsets, pad):
    """Cut (H, W) windows at `offsets`, (N, 2), out of the zero-padded images."""
    n, _, height, width = images.shape
    padded = F.pad(images, (pad,) * 4).permute(0, 2, 3, 1)
    rows = offsets[:, 0, None] + torch.arange(height, device=images.device)
    columns = offsets[:, 1, None] + torch.arange(width, device=images.device)
    each = torch.arange(n, device=images.device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
