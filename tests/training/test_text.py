import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import pytest
import torch

from clr.policies import Fixed
from clr.training import RunConfig, Training, load, models, text

ON_TEXT = {
    "dataset": "text",
    "model": "transformer",
    "optimizer": "adamw",
    "batch_size": 4,
    "weight_decay": 0.1,
    "subtract_mean": False,
    "clip_grad_norm": 1.0,
}


def test_blocks_do_not_overlap_and_labels_are_the_bytes_that_follow():
    blocks, following = text.blocks(b"abcdefgh", 3)
    assert [bytes(row.tolist()) for row in blocks] == [b"abc", b"def"]
    assert [bytes(row.tolist()) for row in following] == [b"bcd", b"efg"]


@pytest.mark.parametrize("size", [0, 1, 128])
def test_a_text_without_a_whole_block_is_refused(size):
    with pytest.raises(ValueError, match=f"text must have at least 129 bytes.*; got {size}"):
        text.blocks(b"x" * size)


def test_every_twentieth_file_is_for_testing():
    files = [bytes([i]) * 300 for i in range(40)]
    train, _, test, _ = text.split(files)
    assert set(test.flatten().tolist()) == {19, 39}
    assert set(train.flatten().tolist()) == set(range(40)) - {19, 39}


def test_the_text_of_sympy():
    data = load("text")
    assert data.is_text and data.image_shape == (128,) and len(data.classes) == 256
    assert len(data.test_labels) == 1200 and len(data.train_labels) > 100_000
    assert str(data).endswith("blocks of 128 bytes")


@pytest.mark.parametrize(
    ("files", "name"),
    [([b"x" * 200] * 19, "test files"), ([b"x"] * 19 + [b"x" * 200], "training")],
)
def test_a_text_without_a_block_for_training_or_testing_says_for_which(files, name):
    with pytest.raises(ValueError, match=f"the {name}.*must have at least 129 bytes.*; got"):
        text.split(files)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(text, "PACKAGE", "no-such-package")
    with pytest.raises(ImportError, match="'text'.*no-such-package.*pip install"):
        load("text")


def test_the_transformer_sees_no_later_byte():
    torch.manual_seed(0)
    model = models.build("transformer", (128,), 256)
    bytes_ = torch.randint(0, 256, (2, 128))
    changed = bytes_.clone()
    changed[:, 64:] = 0
    before, after = model(bytes_), model(changed)
    assert torch.allclose(before[:, :64], after[:, :64], atol=1e-5)
    assert not torch.allclose(before[:, 64:], after[:, 64:], atol=1e-2)


def test_its_first_loss_is_that_of_guessing():
    torch.manual_seed(0)
    model = models.build("transformer", (128,), 256)
    outputs = model(torch.randint(0, 256, (2, 128)))
    loss = torch.nn.functional.cross_entropy(
        outputs.flatten(0, 1), torch.randint(0, 256, (256,))
    )
    assert loss.item() == pytest.approx(math.log(256), abs=0.1)


def test_layers_matrices_decay_and_nothing_else_does():
    model = models.build("transformer", (128,), 256)
    decayed = {name for name, _ in model.named_parameters() if name not in model.multipliers}
    assert decayed == {
        f"layers.{i}.{part}.weight" for i in (0, 1) for part in ("qkv", "out", "up", "down")
    }


def test_gradients_are_clipped_before_the_update(small_text):
    config = RunConfig(Fixed(0.001), 1, **ON_TEXT)
    training = Training(config, small_text)
    norms = []

    def note(optimizer, *_):
        weights = optimizer.param_groups[0]["params"] + optimizer.param_groups[1]["params"]
        norms.append(sum(p.grad.square().sum() for p in weights).sqrt())

    training.optimizer.register_step_pre_hook(note)
    training.step()
    assert norms[0].item() == pytest.approx(1.0, rel=1e-3)


def test_loss_and_accuracy_are_means_over_all_bytes(small_text):
    training = Training(RunConfig(Fixed(0.001), 1, **ON_TEXT), small_text)
    loss, accuracy = training.evaluate()
    with torch.inference_mode():
        outputs = training.model(small_text.test_images.long())
    expected = torch.nn.functional.cross_entropy(
        outputs.flatten(0, 1), small_text.test_labels.flatten()
    )
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    right = (outputs.argmax(-1) == small_text.test_labels).double().mean()
    assert accuracy == pytest.approx(right.item())


@pytest.fixture
def small_text():
    """A hundred blocks of the text."""
    data = load("text")
    parts = data.train_images, data.train_labels, data.test_images, data.test_labels
    return type(data)(data.name, data.classes, *(part[:100] for part in parts))


@pytest.mark.parametrize(
    "differs",
    [{"model": "mlp"}, {"subtract_mean": True}, {"flip": True}, {"dataset": "digits"}],
)
def test_settings_that_do_not_fit_to_text_are_refused(differs):
    with pytest.raises(ValueError, match="must be"):
        RunConfig(Fixed(0.001), 1, **ON_TEXT | differs)


def grown(data):
    """By how many bytes this process grows in 30 steps, after ten others."""
    training = Training(RunConfig(Fixed(0.001), 60, **ON_TEXT | {"batch_size": 32}), data)
    for _ in range(10):
        training.step()
    before = psutil.Process().memory_info().rss
    for _ in range(30):
        training.step()
    return psutil.Process().memory_info().rss - before


def test_a_step_keeps_no_memory(small_text):
    """A small tensor kept per step would keep the memory freed beside it from being reused.

    It is measured in a new process: what earlier tests left in this one would count, too.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        assert process.submit(grown, small_text).result() < 10 * 2**20
