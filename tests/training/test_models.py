import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clr.training import models
from clr.training.models import Cifar10Full, Cifar10FullSigmoidBN, ResNet, WithinChannelNorm


def pool(x, how):
    """Caffe's 3x3 pooling with stride 2 of (N, C, H, W), as its source describes it."""
    n, c, height, width = x.shape
    out_h, out_w = (math.ceil((size - 3) / 2) + 1 for size in (height, width))
    out = np.empty((n, c, out_h, out_w))
    for i in range(out_h):
        for j in range(out_w):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]  # clipped to the image
            out[:, :, i, j] = how(window, axis=(2, 3))
    return out


def lrn(x, alpha=5e-5, beta=0.75):
    """Caffe's within-channel normalisation: the mean of squares counts the padding."""
    padded = np.pad(x * x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    total = sum(padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
    return x * (1 + alpha * total / 9) ** -beta


def conv(x, weight, bias):
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None]


def cifar10_full(x, parameters):
    """The network in numpy, float64, layer by layer as in the prototxt."""
    w = {name: p.detach().double().numpy() for name, p in parameters}
    x = pool(conv(x, w["conv1.weight"], w["conv1.bias"]), np.max)
    x = lrn(np.maximum(x, 0))
    x = np.maximum(conv(x, w["conv2.weight"], w["conv2.bias"]), 0)
    x = lrn(pool(x, np.mean))
    x = pool(np.maximum(conv(x, w["conv3.weight"], w["conv3.bias"]), 0), np.mean)
    return x.reshape(len(x), -1) @ w["ip1.weight"].T + w["ip1.bias"]


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (2, 9, 14)])
def test_cifar10_full_equals_a_transcription_in_numpy(shape):
    torch.manual_seed(0)
    model = Cifar10Full(shape, 7).double()
    for parameter in model.parameters():  # large enough for every layer to matter
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(3, *shape, dtype=torch.float64) * 50
    expected = cifar10_full(x.numpy(), model.named_parameters())
    assert model(x).detach().numpy() == pytest.approx(expected, rel=1e-9)


def test_cifar10_full_has_caffes_sizes_and_first_weights():
    torch.manual_seed(0)
    model = Cifar10Full()
    assert model.ip1.in_features == 1024  # 64 * 4 * 4: sizes are rounded up
    assert sum(p.numel() for p in model.parameters()) == 89_578
    for layer, std in [("conv1", 1e-4), ("conv2", 0.01), ("conv3", 0.01), ("ip1", 0.01)]:
        weight, bias = getattr(model, layer).weight, getattr(model, layer).bias
        assert weight.std().item() == pytest.approx(std, rel=0.05)
        assert abs(weight.mean().item()) < std / 10 and not bias.any()


def batch_norm(x, moments=None):
    """Caffe's BatchNorm without Scale, by (mean, variance) per channel or the batch's own."""
    mean, variance = moments or (x.mean((0, 2, 3)), x.var((0, 2, 3)))
    return (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]


def sigmoid_bn(x, w, moments):
    """cifar10_full_sigmoid_bn in numpy, float64, layer by layer as in the prototxt."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    none = np.zeros(1)  # the convolutions have no bias
    x = pool(conv(x, w["conv1.weight"], none), np.max)
    x = sigmoid(batch_norm(x, moments["bn1"]))
    for i in (2, 3):
        x = sigmoid(batch_norm(conv(x, w[f"conv{i}.weight"], none), moments[f"bn{i}"]))
        x = pool(x, np.mean)
    return x.reshape(len(x), -1) @ w["ip1.weight"].T + w["ip1.bias"]


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 9, 14)])
def test_cifar10_full_sigmoid_bn_equals_a_transcription_in_numpy(shape):
    torch.manual_seed(0)
    model = models.build("cifar10_full_sigmoid_bn", shape, 7, bn_fraction=0.999).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(4, *shape, dtype=torch.float64) * 50
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    norms = "bn1", "bn2", "bn3"
    expected = sigmoid_bn(x.numpy(), w, dict.fromkeys(norms))
    assert model(x).detach().numpy() == pytest.approx(expected, rel=1e-9)
    moments = {}
    for name in norms:  # any others than that batch's, for the test phase
        norm = getattr(model, name)
        torch.nn.init.normal_(norm.running_mean), torch.nn.init.uniform_(norm.running_var, 1, 2)
        moments[name] = norm.running_mean.numpy(), norm.running_var.numpy()
    expected = sigmoid_bn(x.numpy(), w, moments)
    assert model.eval()(x).detach().numpy() == pytest.approx(expected, rel=1e-9)


def test_cifar10_full_sigmoid_bn_has_caffes_sizes_first_weights_and_multipliers():
    torch.manual_seed(0)
    model = models.build(
        "cifar10_full_sigmoid_bn", (3, 32, 32), 10, bn_fraction=0.999, ghost_batch=50
    )
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert sizes == {
        "conv1.weight": (32, 3, 5, 5),
        "conv2.weight": (32, 32, 5, 5),
        "conv3.weight": (64, 32, 5, 5),
        "ip1.weight": (10, 1024),
        "ip1.bias": (10,),
    }
    for layer, std in [("conv1", 1e-4), ("conv2", 0.01), ("conv3", 0.01), ("ip1", 0.01)]:
        assert getattr(model, layer).weight.std().item() == pytest.approx(std, rel=0.05)
    assert not model.ip1.bias.any()
    assert {(norm.fraction, norm.ghost) for norm in (model.bn1, model.bn3)} == {(0.999, 50)}
    groups = models.param_groups(model, 0.004)
    found = {
        (group["lr_mult"], group["weight_decay"]): len(group["params"]) for group in groups
    }
    assert found == {(1, 0.004): 4, (1, 0.0): 1}


def test_batch_norm_without_scale_normalises_ghost_batches_by_themselves():
    torch.manual_seed(4)
    norm, x = models.BatchNorm(3, ghost=4, scale=False), torch.randn(12, 3, 5, 5) * 3 + 1
    assert not list(norm.parameters())
    out = norm(x)
    for i in range(3):
        assert out[i::3].numpy() == pytest.approx(batch_norm(x[i::3].numpy()), abs=1e-5)


def test_within_channel_norm_and_its_gradient():
    torch.manual_seed(1)
    x = (torch.randn(2, 3, 5, 6, dtype=torch.float64) * 100).requires_grad_()
    norm = WithinChannelNorm()
    assert norm(x).detach().numpy() == pytest.approx(lrn(x.detach().numpy()), rel=1e-12)
    assert torch.autograd.gradcheck(norm, (x,), atol=1e-6)


def test_caffes_multipliers():
    model = Cifar10Full()
    groups = models.param_groups(model, 0.004)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr_mult"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    }
    assert found == {
        "conv1.weight": (1, 0.004),
        "conv1.bias": (2, 0.004),
        "conv2.weight": (1, 0.004),
        "conv2.bias": (2, 0.004),
        "conv3.weight": (1, 0.004),
        "conv3.bias": (1, 0.004),
        "ip1.weight": (1, 1.0),
        "ip1.bias": (2, 0.0),
    }


def test_resnet():
    for depth, convolutions in ((8, 7), (20, 19), (56, 55)):
        model = ResNet(depth)
        found = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
        assert len(found) == convolutions
    x = torch.randn(2, 3, 32, 32)
    shapes = []
    model = ResNet(8)
    for block in model.blocks:
        block.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[1:])))
    assert model(x).shape == (2, 10)
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    decays = {group["weight_decay"] for group in models.param_groups(model, 0.1)}
    assert decays == {0.0, 0.1}


def resnet8(x, w, norm):
    """The network layer by layer; `norm` is given the values and the layer's name."""

    def conv(x, name, stride=1):
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, 1)

    y = F.relu(norm(conv(x, "conv1"), "bn1"))
    for i, stride in enumerate((1, 2, 2)):
        b = f"blocks.{i}."
        z = F.relu(norm(conv(y, b + "conv1", stride), b + "bn1"))
        z = norm(conv(z, b + "conv2"), b + "bn2")
        if stride == 2:
            y = torch.from_numpy(pool(y.numpy(), np.mean))
            y = torch.cat([y, torch.zeros_like(y)], 1)
        y = F.relu(y + z)
    return y.mean((2, 3)) @ w["ip1.weight"].T + w["ip1.bias"]


def test_resnet_equals_a_transcription():
    torch.manual_seed(0)
    model = models.ResNet(8, (1, 12, 8), 5).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    w, x = model.state_dict(), torch.randn(3, 1, 12, 8, dtype=torch.float64)

    def norm(x, name):
        return F.batch_norm(
            x,
            w[f"{name}.running_mean"],
            w[f"{name}.running_var"],
            w[f"{name}.weight"],
            w[f"{name}.bias"],
        )

    assert torch.allclose(model(x), resnet8(x, w, norm), rtol=1e-9)


def test_resnet_multipliers():
    model = models.ResNet(8)
    names = {id(p): name for name, p in model.named_parameters()}
    for group in models.param_groups(model, 0.1):
        for p in group["params"]:
            bias = "conv" in names[id(p)] and names[id(p)].endswith("bias")
            assert (group["lr_mult"], group["weight_decay"]) == ((2, 0) if bias else (1, 0.1))


def test_first_weights():
    torch.manual_seed(0)
    for layer in models.ResNet(56).modules():
        if isinstance(layer, torch.nn.Conv2d):
            msra = (2 / layer.weight[0].numel()) ** 0.5
            assert layer.weight.std().item() == pytest.approx(msra, rel=0.15)
            assert not layer.bias.any()
    for model in (models.ResNet(8), models.LeNet()):
        for layer in model.children():
            if isinstance(layer, torch.nn.Linear) or isinstance(model, models.LeNet):
                bound = (3 / layer.weight[0].numel()) ** 0.5
                assert 0.95 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()


def test_resnets_shortcut_pools_and_fills_with_zeros():
    block = models.Block(2, 4).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # only the shortcut is left
    x = torch.rand(1, 2, 8, 8)
    out = block(x).detach()
    assert out[:, 2:].abs().max() == 0
    assert out[:, :2].numpy() == pytest.approx(pool(x.numpy(), np.mean), rel=1e-6)


def test_batch_norm_is_caffes():
    torch.manual_seed(2)
    norm = models.BatchNorm(3, fraction=0.95).double()
    batches = torch.randn(4, 10, 3, 5, 6, dtype=torch.float64) * 3 + 1
    total, scale = np.zeros((2, 3)), 0.0  # Caffe's blobs: sums and the sum of weights
    for batch in batches:
        x = batch.numpy()
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
        expected = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
        assert norm(batch).detach().numpy() == pytest.approx(expected, rel=1e-6)
        m = x.size / 3
        total = 0.95 * total + [mean, variance * m / (m - 1)]
        scale = 0.95 * scale + 1
    running = np.stack([norm.running_mean, norm.running_var])
    assert running == pytest.approx(total / scale, rel=1e-5)
    plain = torch.nn.functional.batch_norm(batches[0], norm.running_mean, norm.running_var)
    assert torch.allclose(norm.eval()(batches[0]), plain)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999])
def test_a_constant_channel_keeps_a_variance_of_zero_and_can_be_evaluated(fraction):
    norm, x = models.BatchNorm(2, fraction=fraction), torch.full((4, 2, 3, 3), 7.0)
    for _ in range(50):
        norm(x)
        assert norm.running_mean.tolist() == [7, 7] and norm.running_var.tolist() == [0, 0]
        assert norm.eval()(x).isfinite().all()
        norm.train()


def test_ghost_batches_are_normalised_by_themselves():
    torch.manual_seed(3)
    ghost, x = models.BatchNorm(4, ghost=5), torch.randn(20, 4, 3, 3)
    torch.nn.init.normal_(ghost.weight), torch.nn.init.normal_(ghost.bias)
    out = ghost(x).detach()
    kept = ghost(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(kept, out, atol=1e-6)
    assert kept.is_contiguous(memory_format=torch.channels_last)  # no layout back and forth
    parts = [models.BatchNorm(4) for _ in range(4)]
    for i, part in enumerate(parts):  # images i, i + 4, i + 8, … are one ghost batch
        part.load_state_dict(
            {k: v for k, v in ghost.state_dict().items() if "running" not in k}, strict=False
        )
        part.num_batches_tracked.zero_()
        assert torch.allclose(out[i::4], part(x[i::4]), atol=1e-5)
    assert torch.allclose(ghost.running_mean, parts[0].running_mean, atol=1e-6)
    assert torch.allclose(ghost.running_var, parts[0].running_var, atol=1e-6)
    with pytest.raises(ValueError, match="ghost_batch must divide the batch of 19; got 5"):
        ghost(x[:19])


def test_lenet_is_caffes():
    torch.manual_seed(0)
    model = models.LeNet()
    assert sum(p.numel() for p in model.parameters()) == 431_080
    assert model.ip1.in_features == 800
    bound = (3 / 800) ** 0.5
    assert 0.99 * bound < model.ip1.weight.abs().max() <= bound and not model.ip1.bias.any()
    found = {(g["lr_mult"], g["weight_decay"]) for g in models.param_groups(model, 0.0005)}
    assert found == {(1, 0.0005), (2, 0.0005)}
    assert models.LeNet((3, 17, 20), 5)(torch.rand(2, 3, 17, 20)).shape == (2, 5)


def test_lenet_msra_differs_in_its_first_weights_alone():
    torch.manual_seed(0)
    model = models.build("lenet_msra", (1, 28, 28), 10)
    for layer in model.children():
        inputs = layer.weight[0].numel()
        std = (2 / inputs) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.1)
        assert not layer.bias.any()
    assert model.ip1.weight.detach().abs().max() > 3 * (2 / 800) ** 0.5  # normal, not uniform
    plain = models.LeNet()
    plain.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 28, 28) * 255
    assert torch.allclose(plain(x), model(x), atol=1e-4)
    groups = [
        {
            (g["lr_mult"], g["weight_decay"], len(g["params"]))
            for g in models.param_groups(m, 0.1)
        }
        for m in (plain, model)
    ]
    assert groups[0] == groups[1]


def test_the_mlp_is_two_linear_layers():
    torch.manual_seed(0)
    model = models.build("mlp", (1, 8, 8), 10)
    assert [tuple(p.shape) for p in model.parameters()] == [(64, 64), (64,), (10, 64), (10,)]
    x = torch.randn(5, 1, 8, 8) * 50
    w1, b1, w2, b2 = (p.detach() for p in model.parameters())
    expected = (x.flatten(1) / 256 @ w1.T + b1).clamp(min=0) @ w2.T + b2
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_lenet_equals_a_transcription():
    torch.manual_seed(0)
    model = models.LeNet().double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    w, x = model.state_dict(), torch.rand(3, 1, 28, 28, dtype=torch.float64) * 255
    y = F.max_pool2d(F.conv2d(x / 256, w["conv1.weight"], w["conv1.bias"]), 2)
    y = F.max_pool2d(F.conv2d(y, w["conv2.weight"], w["conv2.bias"]), 2).flatten(1)
    y = F.relu(y @ w["ip1.weight"].T + w["ip1.bias"])
    assert torch.allclose(model(x), y @ w["ip2.weight"].T + w["ip2.bias"], rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.LeNet((1, 8, 8)), "lenet takes images from 16x16 up; got 8x8"),
        (lambda: Cifar10Full((3, 7, 32)), "from 8x8 up; got 7x32"),
        (lambda: Cifar10FullSigmoidBN((3, 32, 7)), "takes images from 8x8 up; got 32x7"),
        (lambda: models.build("vgg", (3, 32, 32), 10), "model must be one of cifar10_full"),
    ],
)
def test_bad_arguments_are_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("size", [(7, 8), (8, 30), (33, 32)])
def test_a_resnet_takes_sides_that_divide_by_4(size):
    with pytest.raises(ValueError, match=f"resnet8 .*divide by 4; got {size[0]}x{size[1]}"):
        models.build("resnet8", (3, *size), 10)
    model = models.build("resnet8", (3, 12, 28), 10)
    assert model(torch.zeros(2, 3, 12, 28)).shape == (2, 10)
