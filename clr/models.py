"""The networks: Caffe's `cifar10_full` and CIFAR residual networks of depth 6n + 2."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from clr import checks


class WithinChannelNorm(nn.Module):
    """Caffe's LRN, WITHIN_CHANNEL: `x * (1 + alpha * mean(x**2)) ** -0.75`.

    The mean is over 3 x 3 pixels of the same channel; pixels outside the image
    count as zeros. Shape in and out: (N, C, H, W).
    """

    def __init__(self, alpha: float = 5e-5):
        super().__init__()
        self.alpha = alpha

    def forward(self, x):
        mean = F.avg_pool2d(x * x, 3, stride=1, padding=1)
        root = torch.rsqrt(1.0 + self.alpha * mean)  # s ** -0.5
        return x * (root * torch.sqrt(root))  # ... times s ** -0.25, faster than pow


class Cifar10Full(nn.Module):
    """Caffe's examples/cifar10/cifar10_full: three 5x5 convolutions and one linear layer.

    Takes (N, channels, H, W), raw 0..255 pixels less the mean image, and returns
    (N, classes). Pooling rounds sizes up and averages over the window clipped to
    the image, as Caffe does: 32 -> 16 -> 8 -> 4.
    """

    # (lr_mult, decay_mult) where they are not (1, 1): the prototxt's param blocks.
    multipliers = {
        "conv1.bias": (2.0, 1.0),
        "conv2.bias": (2.0, 1.0),
        "ip1.weight": (1.0, 250.0),
        "ip1.bias": (2.0, 0.0),
    }

    def __init__(self, image_shape=(3, 32, 32), classes: int = 10):
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < 8:
            raise ValueError(f"cifar10_full takes images from 8x8 up; got {height}x{width}")
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.norm = WithinChannelNorm()
        for _ in range(3):
            height, width = -(-(height - 3) // 2) + 1, -(-(width - 3) // 2) + 1
        self.ip1 = nn.Linear(64 * height * width, classes)
        layers = (self.conv1, 1e-4), (self.conv2, 0.01), (self.conv3, 0.01), (self.ip1, 0.01)
        for layer, std in layers:
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.norm(F.relu(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)))
        x = self.norm(F.avg_pool2d(F.relu(self.conv2(x)), 3, 2, ceil_mode=True))
        x = F.avg_pool2d(F.relu(self.conv3(x)), 3, 2, ceil_mode=True)
        return self.ip1(x.flatten(1))


class Block(nn.Module):
    """Two 3x3 convolutions and the shortcut around them.

    Where the size halves, the shortcut is an average pool, filled up to the new
    number of channels with zeros.
    """

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.stride = 1 if channels_in == channels else 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=self.stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride == 2:
            x = F.avg_pool2d(x, 3, 2, ceil_mode=True)
            x = x[:, :, : y.shape[2], : y.shape[3]]
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


class ResNet(nn.Module):
    """Residual network of depth 6n + 2 for small images: three stages of n blocks.

    16, 32 and 64 channels, as in the super-convergence paper's experiments
    (1708.07120), where ResNet-56 is n = 9.
    """

    def __init__(self, depth: int, image_shape=(3, 32, 32), classes: int = 10):
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"a ResNet's depth must be 6n + 2 (8, 14, 20, …); got {depth}")
        self.conv1 = nn.Conv2d(image_shape[0], 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        pairs = zip([16, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairs))
        self.ip1 = nn.Linear(64, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # Caffe's "msra"
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        bound = (3 / self.ip1.in_features) ** 0.5  # Caffe's "xavier"
        nn.init.uniform_(self.ip1.weight, -bound, bound)
        nn.init.zeros_(self.ip1.bias)
        names = [n for n, _ in self.named_parameters() if "conv" in n and n.endswith("bias")]
        self.multipliers = dict.fromkeys(names, (2.0, 0.0))

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.ip1(x.mean((2, 3)))


NAMES = ("cifar10_full", "resnet8", "resnet20", "resnet56", "resnet110")


def build(name: str, image_shape, classes: int) -> nn.Module:
    """The model `name` for images of (C, H, W), in memory channels last."""
    checks.one_of("model", name, NAMES)
    if name == "cifar10_full":
        model = Cifar10Full(image_shape, classes)
    else:
        model = ResNet(int(name.removeprefix("resnet")), image_shape, classes)
    return model.to(memory_format=torch.channels_last)


def param_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Optimizer groups by the model's `multipliers`: each has `lr_mult`, `weight_decay`."""
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        lr_mult, decay_mult = model.multipliers.get(name, (1.0, 1.0))
        decay = weight_decay * decay_mult
        group = {"params": [], "lr_mult": lr_mult, "weight_decay": decay}
        groups.setdefault((lr_mult, decay), group)["params"].append(parameter)
    return list(groups.values())
