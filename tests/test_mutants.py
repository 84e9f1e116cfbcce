"""Each test notices a silent error that every other test would let pass (found by mutation)."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_claims import run
from test_models import pool
from torch.nn import functional as F

from clr import claims
from clr.experiments import EXPERIMENTS
from clr.policies import Exp, RangeRamp, Triangular2
from clr.range_test import lr_range_test
from clr.training import RunConfig, Training, datasets, graph, models
from clr.training.batches import Batches

DIGITS = datasets.load("digits")
SHORT = RunConfig(
    Triangular2(0.01, 0.1, 7), 30, model="resnet8", weight_decay=1e-4, test_every=8
)


# claims
@pytest.mark.parametrize(
    ("low", "high", "said"), [(-0.006, 0.004, "undecided"), (-0.02, -0.006, "not reproduced")]
)
def test_as_good_as_has_a_lower_side(low, high, said):
    assert claims.verdict("as good as", low, high) == said


def test_a_finished_run_has_no_accuracy_after_its_end():
    with pytest.raises(KeyError):
        claims.accuracies([run([0.1, 0.5])], 20)


def test_mnists_margin_is_a_tenth():
    assert {c.margin for c in claims.MNIST} == {0.0005}


# experiments
def test_mnists_stepsizes_are_the_papers_in_epochs():
    arms = EXPERIMENTS["mnist"][0]("mnist", 1)
    ups = {n: arms[f"1cycle, {n} epochs"][0].policy.stepsize for n in (85, 50, 25, 12)}
    assert ups == {85: 4688, 50: 2695, 25: 1406, 12: 586}


def test_only_two_arms_have_the_slow_average():
    for name in ("superconvergence", "superconvergence_small"):
        for arm, (c,) in EXPERIMENTS[name][0]("cifar10", 1).items():
            slow = arm in ("step", "one cycle, the step's statistics")
            assert c.bn_fraction == (0.999 if slow else 0.95), arm


def test_exp_and_the_waves_of_table1():
    arms = {k: c.policy for k, (c,) in EXPERIMENTS["table1"][0]("cifar10", 1).items()}
    assert arms["exp"] == Exp(0.001, 0.99994)
    for arm, wave in (("Welch", "welch"), ("Hann", "hann")):
        assert {p.wave.__name__ for p, _ in arms[f"triangular2, {arm}"].stages} == {wave}


# models
def resnet8(x, w, norm):
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


def test_resnet_multipliers():
    model = models.ResNet(8)
    names = {id(p): name for name, p in model.named_parameters()}
    for group in models.param_groups(model, 0.1):
        for p in group["params"]:
            bias = "conv" in names[id(p)] and names[id(p)].endswith("bias")
            assert (group["lr_mult"], group["weight_decay"]) == ((2, 0) if bias else (1, 0.1))


# data / training
def test_pixels_without_the_mean_subtracted_are_raw():
    config = replace(SHORT, subtract_mean=False)
    t = Training(config, DIGITS)
    images, _labels = t.batches.images(*(drawn := t.batches.draw()))
    assert torch.equal(images, DIGITS.train_images[drawn[0]].float())
    images, _ = next(DIGITS.test_batches(50, False))
    assert torch.equal(images, DIGITS.test_images[:50].float())


def test_tests_subtract_the_mean_only_if_training_does():
    t = Training(replace(SHORT, subtract_mean=False), DIGITS)
    seen = []
    t.model = type(
        "M",
        (torch.nn.Module,),
        {"forward": lambda self, x: seen.append(x) or x.flatten(1)[:, :10]},
    )()
    t.evaluate()
    assert torch.equal(torch.cat(seen), DIGITS.test_images.float())


def test_seeds_differ_in_weights_and_order():
    one, two = (Training(replace(SHORT, seed=seed), DIGITS) for seed in (0, 1))
    assert not torch.equal(one.model.conv1.weight, two.model.conv1.weight)
    assert not torch.equal(one.batches.draw()[0], two.batches.draw()[0])


def test_no_seed_repeats_another():
    later = Batches(DIGITS, 1438, seed=0, flip=True, crop=1)
    later.iteration = 1
    for a, b in zip(
        later.draw(), Batches(DIGITS, 1438, seed=1, flip=True, crop=1).draw(), strict=True
    ):
        assert not torch.equal(a, b)


def test_each_epoch_flips_anew_about_half():
    batches = Batches(DIGITS, 719, flip=True)
    first, second, third = (batches.draw()[1] for _ in range(3))
    assert not torch.equal(first, third)
    assert all(0.4 < part.float().mean() < 0.6 for part in (first, second))


def test_the_configs_settings_arrive():
    values = {
        "train_images": 200,
        "crop": 1,
        "flip": True,
        "shuffle": False,
        "seed": 3,
        "momentum": 0.5,
        "weight_decay": 0.02,
    }
    t = Training(replace(SHORT, **values), DIGITS)
    b = t.batches
    assert (b.n, b.crop, b.flip, b.shuffle, b.seed) == (200, 1, True, False, 3)
    groups = t.optimizer.param_groups
    assert {g["momentum"] for g in groups} == {0.5}
    assert {g["weight_decay"] for g in groups} == {0.02, 0}


def test_a_state_of_other_data_is_refused():
    other = datasets.Dataset(
        "o",
        DIGITS.classes,
        DIGITS.train_images,
        DIGITS.train_labels.flip(0),
        DIGITS.test_images,
        DIGITS.test_labels,
    )
    with pytest.raises(ValueError, match="of another run"):
        Training(SHORT, other).load_state_dict(Training(SHORT, DIGITS).state_dict())


# range test
def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)
    )


def go(model, **kw):
    data_ = kw.pop("batches", [(torch.randn(16, 4), torch.arange(16) % 2)])
    opt = kw.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.1)
    return lr_range_test(
        model,
        data_,
        loss=kw.pop("loss", F.cross_entropy),
        optimizer=opt,
        policy=RangeRamp(0.0, 0.1, kw.pop("n", 4)),
        **kw,
    )


def test_range_tests_train_and_test_in_their_modes():
    model, seen = small().eval(), []

    def evaluate(m):
        seen.append(("test", m.training, m[1].training))
        return 0.5

    def loss(*x):
        seen.append(("train", model.training, model[1].training))
        return F.cross_entropy(*x)

    go(model, evaluate=evaluate, loss=loss, every=1)
    assert set(seen) == {("test", False, False), ("train", True, True)} and not model.training


def test_seeds_set_every_generator():
    drawn = []
    for _ in range(2):
        random.seed(9), np.random.seed(9), torch.manual_seed(9)
        go(
            small(),
            seeds=[3, 4],
            reset=lambda m: drawn.append(
                (random.random(), np.random.rand(), torch.rand(1).item())
            ),
        )
        random.random()
    assert drawn[:2] == drawn[2:] and all(a != b for a, b in zip(*drawn[:2], strict=True))


# graph
def test_each_replay_has_a_result_of_its_own(monkeypatch):
    def capture(function):  # as a GPU does: the same memory at each replay
        function.__self__._body()
        kept = function.__self__.result

        def replay():
            function()
            kept.copy_(function.__self__.result)
            function.__self__.result = kept

        return replay

    monkeypatch.setattr(graph, "capture", capture)
    monkeypatch.setattr(graph.Graphed, "_aside", lambda self, inputs: self.function(*inputs))
    double = graph.Graphed(lambda x: 2 * x)
    given = [torch.tensor(float(i)) for i in range(7)]
    results = [double(x) for x in given]
    assert [r.item() for r in results] == [0, 2, 4, 6, 8, 10, 12]
    assert [x.item() for x in given] == list(range(7))
