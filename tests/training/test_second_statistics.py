"""A second set of running statistics, and groups that are computed one after another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clr.policies import Fixed, Triangular
from clr.training import SECOND, RunConfig, Training, load, models

DIGITS = load("digits")
SHORT = RunConfig(
    Triangular(0.01, 0.1, 10),
    40,
    model="resnet8",
    weight_decay=1e-4,
    test_every=10,
    batch_size=60,
    ghost_batch=20,
    bn_fraction=0.9,
)


@pytest.mark.parametrize("model", ["resnet8", "cifar10_full_sigmoid_bn_scaled"])
def test_second_statistics_are_those_of_a_training_with_that_fraction(model):
    """One training with both gives what two trainings with one each give."""
    config = replace(SHORT, model=model)
    if model != "resnet8":  # its sigmoids learn more slowly
        config = replace(config, policy=Fixed(0.5), iterations=20)
    one = Training(config, DIGITS).run().history
    other = Training(replace(config, bn_fraction=0.5), DIGITS).run().history
    both = Training(replace(config, second_bn_fraction=0.5), DIGITS).run().history
    assert both[one.columns].equals(one)
    assert (
        both[SECOND].to_numpy().tolist()
        == other[["test_loss", "test_accuracy"]].to_numpy().tolist()
    )
    assert not np.allclose(both["second_test_loss"][1:], both["test_loss"][1:], rtol=1e-3)


def test_a_run_with_second_statistics_continues_bit_identical():
    config = replace(SHORT, second_bn_fraction=0.5)
    whole, first, second = (Training(config, DIGITS) for _ in range(3))
    whole.run()
    first.record()
    for _ in range(7):
        first.step()
    second.load_state_dict(first.state_dict())
    assert second.run().history.equals(whole.history)


def test_second_statistics_need_batch_normalisation_and_a_fraction():
    with pytest.raises(ValueError, match="second_bn_fraction must be None for lenet"):
        replace(SHORT, model="lenet", second_bn_fraction=0.9)
    with pytest.raises(ValueError, match="second_bn_fraction"):
        replace(SHORT, second_bn_fraction=1.5)


def test_groups_one_after_another_have_the_gradients_of_the_whole_batch():
    """To rounding. Groups are normalised separately in either case."""
    training, whole = Training(SHORT, DIGITS), Training(SHORT, DIGITS)
    training.step()
    images, labels = whole.batches.images(*whole.batches.draw())
    F.cross_entropy(whole.model(images), labels).backward()
    pairs = zip(training.model.named_parameters(), whole.model.parameters(), strict=True)
    largest = max(p.grad.abs().max().item() for p in whole.model.parameters())
    for (name, ours), theirs in pairs:
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5 * largest), name


def test_groups_one_after_another_keep_the_running_statistics_of_the_first():
    training, whole = Training(SHORT, DIGITS), Training(SHORT, DIGITS)
    training.step()
    images, _ = whole.batches.images(*whole.batches.draw())
    first = models.BatchNorm(16)
    with torch.no_grad():  # images i, i + 3, i + 6, … are group i
        first(whole.model.conv1(images[0::3]))
        whole.model(images)
    assert torch.allclose(training.model.bn1.running_mean, first.running_mean, atol=1e-6)
    for ours, theirs in zip(training.norms, whole.norms, strict=True):
        assert torch.allclose(ours.running_mean, theirs.running_mean, rtol=1e-4, atol=1e-5)
        assert torch.allclose(ours.running_var, theirs.running_var, rtol=1e-4)
        assert ours.num_batches_tracked == theirs.num_batches_tracked == 1
