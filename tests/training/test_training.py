import math
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from clr.policies import Fixed, OneCycleMomentum, RangeRamp, Stages, Triangular2
from clr.training import RunConfig, Training, data

DIGITS = data.load("digits")
SHORT = RunConfig(
    Triangular2(0.01, 0.1, 7), 30, model="resnet8", weight_decay=1e-4, test_every=8
)


def same_parameters(a, b):
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_history_has_a_row_at_the_start_every_test_every_and_at_the_end():
    history = Training(SHORT, DIGITS).run().history
    assert history["iteration"].tolist() == [0, 8, 16, 24, 30]
    assert history["lr"].tolist() == SHORT.policy([0, 8, 16, 24, 30]).tolist()
    assert math.isnan(history["train_loss"][0]) and history["train_loss"][1:].notna().all()
    assert history["test_accuracy"].between(0, 1).all()


def test_it_learns():
    run = Training(RunConfig(Fixed(0.1), 60, model="resnet8", weight_decay=0), DIGITS).run()
    assert run.ended == "finished" and run.history["test_accuracy"].iloc[-1] > 0.9


def test_a_step_is_sgd_with_the_models_multipliers():
    config = RunConfig(Fixed(0.01), 3, weight_decay=0.004, momentum=0.9)
    training = Training(config, DIGITS)
    w = {n: p.detach().clone() for n, p in training.model.named_parameters()}
    velocity = {n: torch.zeros_like(p) for n, p in w.items()}
    for _ in range(3):
        training.step()
        for name, p in training.model.named_parameters():
            lr_mult, decay_mult = training.model.multipliers.get(name, (1, 1))
            gradient = p.grad + 0.004 * decay_mult * w[name]
            velocity[name] = 0.9 * velocity[name] + 0.01 * lr_mult * gradient
            w[name] = w[name] - velocity[name]
            assert torch.allclose(p, w[name], rtol=1e-4, atol=1e-9), name


def test_same_seed_same_run_other_seed_other_run():
    one, same = Training(SHORT, DIGITS).run(), Training(SHORT, DIGITS).run()
    assert one.history.equals(same.history) and same_parameters(one, same)
    values = SHORT.to_dict() | {"seed": 1}
    other = Training(RunConfig.from_dict(values), DIGITS).run()
    assert not one.history.equals(other.history)


def test_seeds_differ_in_weights_and_order():
    one, two = (Training(replace(SHORT, seed=seed), DIGITS) for seed in (0, 1))
    assert not torch.equal(one.model.conv1.weight, two.model.conv1.weight)
    assert not torch.equal(one.batches.draw()[0], two.batches.draw()[0])


def test_training_leaves_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Training(SHORT, DIGITS).run()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stop", [1, 8, 19])
def test_a_run_continued_from_a_saved_state_ends_bit_identical(stop, tmp_path):
    whole = Training(SHORT, DIGITS).run()
    first = Training(SHORT, DIGITS)
    first.record()
    for _ in range(stop):
        first.step()
        if first.iteration % SHORT.test_every == 0:
            first.record()
    torch.save(first.state_dict(), tmp_path / "state")
    second = Training(SHORT, DIGITS)
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert second.iteration == stop
    second.run()
    assert second.history.equals(whole.history) and same_parameters(second, whole)


def test_a_state_of_another_run_is_refused():
    other = RunConfig.from_dict(SHORT.to_dict() | {"seed": 1})
    with pytest.raises(ValueError, match="the checkpoint is of another run"):
        Training(other, DIGITS).load_state_dict(Training(SHORT, DIGITS).state_dict())


def test_a_state_from_before_a_new_field_of_the_config_is_continued():
    first, second = Training(SHORT, DIGITS), Training(SHORT, DIGITS)
    first.step()
    state = first.state_dict()
    del state["config"]["validation_images"]  # its default is what such a run did
    second.load_state_dict(state)
    assert second.iteration == 1
    state["config"]["a_field_of_later"] = 1
    with pytest.raises(ValueError, match="the checkpoint is of another run"):
        second.load_state_dict(state)
    del state["config"]["a_field_of_later"]
    state["config"]["seed"] = SHORT.seed + 1
    with pytest.raises(ValueError, match="the checkpoint is of another run"):
        second.load_state_dict(state)


def test_a_state_of_other_data_is_refused():
    other = data.Dataset(
        "o",
        DIGITS.classes,
        DIGITS.train_images,
        DIGITS.train_labels.flip(0),
        DIGITS.test_images,
        DIGITS.test_labels,
    )
    with pytest.raises(ValueError, match="of another run"):
        Training(SHORT, other).load_state_dict(Training(SHORT, DIGITS).state_dict())


def test_a_loss_that_is_not_finite_ends_the_run():
    config = RunConfig(RangeRamp(0, 1e8, 200), 200, weight_decay=0, test_every=50)
    run = Training(config, DIGITS).run()
    assert run.ended.startswith("diverged at iteration ")
    stopped = int(run.ended.split()[-1])
    last = run.history["iteration"].iloc[-1]
    assert last - 50 < stopped <= last < 200
    # the iteration named is the first one: until it, all training losses are finite
    short = RunConfig(RangeRamp(0, 1e8, 200), stopped - 1, weight_decay=0, test_every=1)
    run = Training(short, DIGITS).run()
    assert run.iteration == stopped - 1
    assert run.history["train_loss"].iloc[1:].map(math.isfinite).all()


def test_weights_that_the_last_update_broke_end_the_run():
    jump = Stages(((Fixed(0.01), 4), (Fixed(1e30), 1)))  # all five training losses are finite
    config = RunConfig(jump, 5, model="cifar10_full", weight_decay=0, test_every=5)
    run = Training(config, DIGITS).run()
    assert run.history["train_loss"].iloc[1:].map(math.isfinite).all()
    assert not math.isfinite(run.history["test_loss"].iloc[-1])
    assert run.ended == "diverged at iteration 5"


def test_momentum_policy_reaches_the_optimizer():
    config = RunConfig(Fixed(0.01), 10, momentum_policy=OneCycleMomentum(0.85, 0.95, 10))
    run = Training(config, DIGITS).run()
    assert run.optimizer.param_groups[0]["momentum"] == 0.85
    adamw = replace(config, optimizer="adamw")
    assert Training(adamw, DIGITS).run().optimizer.param_groups[0]["betas"] == (0.85, 0.95)


def test_other_settings_train_otherwise():
    changes = [{"optimizer": name} for name in ("nesterov", "adam", "torch_sgd")]
    changes += [{"bn_fraction": 0.5}, {"ghost_batch": 25}, {"subtract_mean": False}]
    for change in [*changes, {"precision": "bfloat16"}, {"flip": True}, {"shuffle": False}]:
        history = Training(RunConfig.from_dict(SHORT.to_dict() | change), DIGITS).run().history
        plain = Training(SHORT, DIGITS).run().history
        assert np.isfinite(history["test_loss"]).all() and not history.equals(plain)


def test_the_configs_settings_arrive():
    values = {
        "train_images": 200,
        "flip": True,
        "shuffle": False,
        "seed": 3,
        "momentum": 0.5,
        "weight_decay": 0.02,
    }
    t = Training(replace(SHORT, **values), DIGITS)
    b = t.batches
    assert (b.n, b.flip, b.shuffle, b.seed) == (200, True, False, 3)
    groups = t.optimizer.param_groups
    assert {g["momentum"] for g in groups} == {0.5}
    assert {g["weight_decay"] for g in groups} == {0.02, 0}


def test_validation_images_are_the_last_ones_and_are_not_trained_on():
    plain = Training(SHORT, DIGITS)
    assert "validation_accuracy" not in plain.history
    kept = Training(replace(SHORT, validation_images=438), DIGITS)
    assert kept.batches.n == 1000
    history = kept.run().history
    assert list(history.columns)[-1] == "validation_accuracy"
    kept.model.eval()
    images, labels = DIGITS.train_images[1000:], DIGITS.train_labels[1000:]
    with torch.inference_mode():
        right = kept.model(DIGITS.as_input(images)).argmax(1) == labels
    assert history["validation_accuracy"].iloc[-1] == right.double().mean().item()
    both = Training(replace(SHORT, validation_images=438, train_images=500), DIGITS)
    assert both.batches.n == 500


@pytest.mark.parametrize("settings", [(1438, None), (439, 1000), (5000, 10)])
def test_more_validation_images_than_there_are_to_spare_are_refused(settings):
    kept, asked = settings
    config = replace(SHORT, validation_images=kept, train_images=asked)
    with pytest.raises(ValueError, match=f"validation_images must be .* at most .*got {kept}"):
        Training(config, DIGITS)


def test_pixels_without_the_mean_subtracted_are_raw():
    config = replace(SHORT, subtract_mean=False)
    t = Training(config, DIGITS)
    images, _labels = t.batches.images(*(drawn := t.batches.draw()))
    assert torch.equal(images, DIGITS.train_images[drawn[0]].float())
    images = DIGITS.as_input(DIGITS.test_images[:50], False)
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


def test_config_is_a_value():
    again = RunConfig.from_dict(SHORT.to_dict())
    assert again == SHORT and hash(again) == hash(SHORT)
    with_momentum = RunConfig(Fixed(0.1), 5, momentum_policy=OneCycleMomentum(0.8, 0.9, 3))
    assert RunConfig.from_dict(with_momentum.to_dict()) == with_momentum


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"iterations": 0},
            "iterations must be a whole number, at least 1 and at most 10000000; got 0",
        ),
        ({"iterations": "500"}, "iterations must be a number.*; got '500'"),
        ({"batch_size": -1}, "batch_size must be"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1; got 1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be finite"),
        ({"flip": 1}, "flip must be True or False; got 1"),
        ({"dataset": "cifar11"}, "dataset must be one of digits, .*; got 'cifar11'"),
        ({"dataset": "folder"}, "dataset must be one of digits, .*; got 'folder'"),
        ({"model": "vgg"}, "model must be one of cifar10_full"),
        ({"optimizer": "lion"}, "optimizer must be one of sgd"),
        ({"precision": "float16"}, "precision must be one of float32"),
        ({"policy": 0.1}, "policy must be a clr Policy; got 0.1"),
        ({"bn_fraction": 1.0}, "bn_fraction must be at least 0 and below 1"),
        ({"ghost_batch": 0}, "ghost_batch must be a whole number, at least 1; got 0"),
        ({"momentum_policy": 0.1}, "momentum_policy must be a clr Policy"),
        ({"policy": RangeRamp(0, 1, 10)}, "iteration 20 is past the end"),
        ({"momentum_policy": RangeRamp(0, 0.9, 10)}, "iteration 20 is past the end"),
        (
            {"momentum_policy": Fixed(3)},
            "momentum_policy at iteration 0 must be at least 0 and below 1; got 3.0",
        ),
        (
            {"momentum_policy": Fixed(0.9), "optimizer": "adagrad"},
            "momentum_policy must be None for adagrad; got Fixed",
        ),
        ({"ghost_batch": 30}, "ghost_batch must divide batch_size, 100; got 30"),
    ],
)
def test_bad_configs_are_named(values, says):
    with pytest.raises((ValueError, TypeError), match=says):
        RunConfig(**({"policy": Fixed(0.1), "iterations": 20} | values))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_a_step_reuses_the_memory_of_the_step_before():
    script = """
import resource
from clr import bench
training = bench.Training(bench.CONFIG, bench.pixels(1000))
faults = []
for _ in range(4):  # the first ones are the warm-up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        training.step()
    faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
print(min(faults))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(done.stdout) < 200  # page faults per step; 1,600 with glibc's defaults
