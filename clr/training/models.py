"""The networks: Caffe's `cifar10_full`, the same with sigmoids and batch normalisation, Caffe's
`lenet` with either of two kinds of first weights, residual networks of depth 6n + 2, a small
`mlp`, and for text a small `transformer`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from clr import checks


class WithinChannelNorm(nn.Module):
    """Caffe's LRN, WITHIN_CHANNEL: `x * (1 + 5e-5 * mean(x**2)) ** -0.75`.

    The mean is over 3 x 3 pixels of the same channel; pixels outside the image
    count as zeros. Shape in and out: (N, C, H, W).
    """

    def forward(self, x):
        s = F.avg_pool2d(x * x, 3, stride=1, padding=1).mul_(5e-5).add_(1.0)
        root = s.rsqrt_()  # s ** -0.5, below multiplied by s ** -0.25: faster than pow
        return x * (root * torch.sqrt(root))


class Cifar10Full(nn.Module):
    """Caffe's examples/cifar10/cifar10_full: three 5x5 convolutions and one linear layer.

    Takes (N, channels, H, W), raw 0..255 pixels minus the mean image, and returns
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
        channels, _, _ = image_shape
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.norm = WithinChannelNorm()
        self.ip1 = nn.Linear(_features(image_shape), classes)
        _draw_weights(self)

    def forward(self, x):
        x = self.norm(F.relu_(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)))
        x = self.norm(F.avg_pool2d(F.relu_(self.conv2(x)), 3, 2, ceil_mode=True))
        x = F.avg_pool2d(F.relu_(self.conv3(x)), 3, 2, ceil_mode=True)
        return self.ip1(x.flatten(1))


def _features(image_shape) -> int:
    """The inputs of the linear layer: 64 channels after three pools, whose sizes round up."""
    _, *sides = image_shape
    if min(sides) < 8:
        raise ValueError(f"the model takes images from 8x8 up; got {sides[0]}x{sides[1]}")
    for _ in range(3):
        sides = [-(-(side - 3) // 2) + 1 for side in sides]
    return 64 * sides[0] * sides[1]


def _draw_weights(model: nn.Module):
    """The first weights of cifar10_full: normal; biases are 0."""
    for layer in (model.conv1, model.conv2, model.conv3, model.ip1):
        nn.init.normal_(layer.weight, std=1e-4 if layer is model.conv1 else 0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class BatchNorm(nn.BatchNorm2d):
    """Caffe's layers BatchNorm and Scale, if asked with ghost batches.

    `fraction` is Caffe's moving_average_fraction: the weight of a batch in the running
    statistics is multiplied by it with every further batch (PyTorch's momentum is
    1 - fraction). As in Caffe, the weights are divided by their sum, so the initial values have
    no influence. With `ghost=n` a batch is split into groups of n images, and each group is
    normalised separately, as on a GPU of its own; the running statistics are those of the first
    group, as on GPU 0. Without `scale` no Scale layer follows, and the result has mean 0 and
    variance 1.

    With `second`, another fraction, there is a second set of running statistics. A test uses it
    where `tests_with_second` is True. A batch changes no running statistics while `counts` is
    False.
    """

    def __init__(
        self,
        channels: int,
        fraction: float = 0.9,
        ghost: int | None = None,
        scale: bool = True,
        second: float | None = None,
    ):
        super().__init__(channels, affine=scale)
        self.fraction, self.ghost, self.second = fraction, ghost, second
        self.counts, self.tests_with_second = True, False
        if second is not None:
            self.register_buffer("second_mean", torch.zeros(channels))
            self.register_buffer("second_var", torch.ones(channels))

    def forward(self, x):
        if not self.training and self.tests_with_second:
            seen = self.second_mean, self.second_var
            return F.batch_norm(x, *seen, self.weight, self.bias, eps=self.eps)
        if not self.training:
            return super().forward(x)
        n, channels = x.shape[:2]
        parts, rest = divmod(n, self.ghost or n)
        if rest:
            raise ValueError(f"ghost_batch must divide the batch of {n}; got {self.ghost}")
        split = x if parts == 1 else _beside(x, parts)
        weight = self.weight.repeat(parts) if self.affine else None
        bias = self.bias.repeat(parts) if self.affine else None
        zeros = torch.zeros(2, parts * channels, device=x.device, dtype=self.running_mean.dtype)
        mean, variance = zeros
        y = F.batch_norm(split, mean, variance, weight, bias, True, 1.0, self.eps)
        if self.counts:
            self._count(mean[:channels], variance[:channels])
        return y if parts == 1 else _below(y, parts)

    @torch.no_grad()
    def _count(self, mean, variance):
        """Move the running statistics towards those of a batch."""
        self.num_batches_tracked += 1
        # in float64, because in float32 the first share can be above 1
        count = self.num_batches_tracked.double()
        averages = [(self.fraction, self.running_mean, self.running_var)]
        if self.second is not None:
            averages.append((self.second, self.second_mean, self.second_var))
        for fraction, running_mean, running_var in averages:
            share = (1 - fraction) / (1 - fraction**count)
            running_mean.lerp_(mean, share)
            running_var.lerp_(variance, share)


class Cifar10FullSigmoidBN(nn.Module):
    """Caffe's examples/cifar10/cifar10_full_sigmoid_bn, the network of CLR Fig. 6.

    `cifar10_full` with sigmoids instead of rectifiers, and with batch normalisation instead of
    the convolutions' biases and the within-channel norm: convolution, MAX pool, normalisation,
    sigmoid; then twice convolution, normalisation, sigmoid, AVE pool; then one linear layer.
    There is no Scale layer. All multipliers are 1, except that the linear layer's bias has no
    decay. Takes (N, channels, H, W), raw 0..255 pixels minus the mean image, and returns
    (N, classes).
    `fraction`, `ghost` and `second` are `BatchNorm`'s; Caffe's own fraction is 0.999.
    ValueError for images below 8 x 8 pixels.

    With `scale` it is the version of Caffe's pull request 1965: normalisation is followed by a
    scale and a shift per channel, and the convolutions have biases.
    """

    multipliers = {"ip1.bias": (1.0, 0.0)}

    def __init__(
        self, image_shape=(3, 32, 32), classes: int = 10, *, scale: bool = False, **norm_options
    ):
        super().__init__()
        channels, _, _ = image_shape
        norm = partial(BatchNorm, scale=scale, **norm_options)
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2, bias=scale)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2, bias=scale)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2, bias=scale)
        self.bn1, self.bn2, self.bn3 = norm(32), norm(32), norm(64)
        self.ip1 = nn.Linear(_features(image_shape), classes)
        _draw_weights(self)

    def forward(self, x):
        x = torch.sigmoid(self.bn1(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)))
        x = F.avg_pool2d(torch.sigmoid(self.bn2(self.conv2(x))), 3, 2, ceil_mode=True)
        x = F.avg_pool2d(torch.sigmoid(self.bn3(self.conv3(x))), 3, 2, ceil_mode=True)
        return self.ip1(x.flatten(1))


def _beside(x, parts):
    """(N, C, H, W) to (N / parts, parts * C, H, W), still channels last in memory.

    Image i goes to the channels of part i % parts.
    """
    n, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n // parts, parts, height, width, channels)
    return pixels.permute(0, 2, 3, 1, 4).flatten(3).permute(0, 3, 1, 2)


def _below(y, parts):
    """The inverse of `_beside`."""
    pixels = y.permute(0, 2, 3, 1).unflatten(3, (parts, y.shape[1] // parts))
    return pixels.permute(0, 3, 1, 2, 4).flatten(0, 1).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Two 3x3 convolutions and the shortcut around them.

    Where the size halves, the shortcut is an average pool, filled up to the new
    number of channels with zeros.
    """

    def __init__(self, channels_in: int, channels: int, norm=BatchNorm):
        super().__init__()
        self.stride = 1 if channels_in == channels else 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=self.stride, padding=1)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = norm(channels)

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

    The stages have 16, 32 and 64 channels, as in the prototxt of the super-convergence paper
    (1708.07120), whose ResNet-56 has n = 9. As there, the convolutions' biases have twice the
    rate and no decay, and batch normalisation's scale and shift are decayed. `fraction`,
    `ghost` and `second` are the arguments of `BatchNorm`.
    """

    def __init__(self, depth: int, image_shape=(3, 32, 32), classes: int = 10, **norm_options):
        super().__init__()
        norm = partial(BatchNorm, **norm_options)
        blocks = (depth - 2) // 6
        _, height, width = image_shape
        if height % 4 or width % 4:  # else the shortcut's pool is smaller than the convolution
            raise ValueError(
                f"resnet{depth} takes images whose sides divide by 4; got {height}x{width}"
            )
        self.conv1 = nn.Conv2d(image_shape[0], 16, 3, padding=1)
        self.bn1 = norm(16)
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        pairs = zip([16, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, norm) for a, b in pairs))
        self.ip1 = nn.Linear(64, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # Caffe's "msra"
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        _xavier(self.ip1)
        names = [n for n, _ in self.named_parameters() if "conv" in n and n.endswith("bias")]
        self.multipliers = dict.fromkeys(names, (2.0, 0.0))

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.ip1(x.mean((2, 3)))


class LeNet(nn.Module):
    """Caffe's examples/mnist/lenet: two 5x5 convolutions, two linear layers.

    Takes raw 0..255 pixels without a mean subtracted and divides them by 256 itself.
    """

    multipliers = {f"{layer}.bias": (2.0, 1.0) for layer in ("conv1", "conv2", "ip1", "ip2")}

    def __init__(self, image_shape=(1, 28, 28), classes: int = 10):
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < 16:
            raise ValueError(f"lenet takes images from 16x16 up; got {height}x{width}")
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        for _ in range(2):
            height, width = -((4 - height) // 2), -((4 - width) // 2)  # pooling rounds up
        self.ip1 = nn.Linear(50 * height * width, 500)
        self.ip2 = nn.Linear(500, classes)
        for layer in self.children():
            _xavier(layer)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x / 256), 2, 2, ceil_mode=True)
        x = F.max_pool2d(self.conv2(x), 2, 2, ceil_mode=True)
        return self.ip2(F.relu(self.ip1(x.flatten(1))))


class LeNetMSRA(LeNet):
    """LeNet with Caffe's "msra" first weights: normal, with a variance of 2 / inputs.

    The author's later runs alternate between these and "xavier".
    """

    def __init__(self, image_shape=(1, 28, 28), classes: int = 10):
        super().__init__(image_shape, classes)
        for layer in self.children():
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


class MLP(nn.Module):
    """Two linear layers with 64 units between them: trains in a second, for the exercises."""

    multipliers = {}

    def __init__(self, image_shape=(1, 8, 8), classes: int = 10):
        super().__init__()
        channels, height, width = image_shape
        self.ip1 = nn.Linear(channels * height * width, 64)
        self.ip2 = nn.Linear(64, classes)
        for layer in self.children():
            _xavier(layer)

    def forward(self, x):
        return self.ip2(F.relu(self.ip1(x.flatten(1) / 256)))


def _xavier(layer):
    """Caffe's "xavier": uniform weights, scaled by the number of inputs; the bias is 0."""
    bound = (3 / layer.weight[0].numel()) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)


class Transformer(nn.Module):
    """A byte-level language model: a decoder of two layers with a width of 128.

    Layers normalise before attention (four heads) and before an MLP with 512 units and GELU.
    Positions are learned. The first weights are normal with a standard deviation of 0.02,
    divided by the root of the number of additions on the way for those that add to the residual
    stream, as in GPT-2; the last layer shares its weights with the embedding of the bytes.
    Weight decay is for matrices of the layers alone. Takes bytes, int64 (N, block), and returns
    (N, block, classes). 0.44 million parameters.
    """

    def __init__(self, block: int = 128, classes: int = 256, width: int = 128, layers: int = 2):
        super().__init__()
        self.bytes = nn.Embedding(classes, width)
        self.positions = nn.Embedding(block, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                adds = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if adds else 0.02)
        self.multipliers = {
            name: (1.0, 0.0)
            for name, parameter in self.named_parameters()
            if parameter.dim() < 2 or name in ("bytes.weight", "positions.weight")
        }

    def forward(self, x):
        x = self.bytes(x) + self.positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.norm(x), self.bytes.weight)


class _Layer(nn.Module):
    """Causal attention and an MLP, each added to its input."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


WITHOUT_BN = {"cifar10_full": Cifar10Full, "lenet": LeNet, "lenet_msra": LeNetMSRA, "mlp": MLP}
WITH_BN = {
    "cifar10_full_sigmoid_bn": Cifar10FullSigmoidBN,
    "cifar10_full_sigmoid_bn_scaled": partial(Cifar10FullSigmoidBN, scale=True),
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (8, 20, 56, 110)},
}
OF_IMAGES = (*WITHOUT_BN, *WITH_BN)
OF_TEXT = ("transformer",)
NAMES = (*OF_IMAGES, *OF_TEXT)


def build(
    name: str,
    image_shape,
    classes: int,
    *,
    bn_fraction: float = 0.9,
    ghost_batch: int | None = None,
    second_bn_fraction: float | None = None,
) -> nn.Module:
    """The model `name` for images of shape (C, H, W), stored in memory with channels last.

    For text, `image_shape` is (bytes in a block,).

    `bn_fraction`, `ghost_batch` and `second_bn_fraction` are for the networks with batch
    normalisation.
    """
    checks.one_of("model", name, NAMES)
    if name in OF_TEXT:
        model: nn.Module = Transformer(*image_shape, classes)
    elif name in WITHOUT_BN:
        model = WITHOUT_BN[name](image_shape, classes)
    else:
        options = {"fraction": bn_fraction, "ghost": ghost_batch, "second": second_bn_fraction}
        model = WITH_BN[name](image_shape=image_shape, classes=classes, **options)
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
