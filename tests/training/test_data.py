import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clr.training import data
from clr.training.data import Batches, Dataset, Source


def numbered(n=10, shape=(1, 3, 4)):
    """Images all of whose pixels are their number, so that batches can be read."""
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1).expand(n, *shape)
    labels = torch.arange(n)
    return Dataset("numbered", ("a", "b"), images.clone(), labels, images[:3], labels[:3])


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits, bunch = data.load("digits"), load_digits()
    assert digits.image_shape == (1, 8, 8) and digits.classes == tuple("0123456789")
    assert len(digits.train_images) == 1438 and len(digits.test_images) == 359
    assert digits.train_images.dtype == torch.uint8 and digits.train_images.max() == 255
    fifth = bunch.images[4] * 255 / 16
    assert np.array_equal(digits.test_images[0, 0].numpy(), np.round(fifth))
    assert digits.test_labels[0] == bunch.target[4]
    assert str(digits).startswith("digits: 1,438 training and 359 test images of 8 x 8")


def test_mean_image_is_subtracted():
    digits = data.load("digits")
    mean = digits.train_images.double().mean(0).numpy()
    assert digits.mean.numpy() == pytest.approx(mean, rel=1e-6)
    images = digits.as_input(digits.test_images[:100])
    expected = digits.test_images[:100].double().numpy() - mean
    assert images.numpy() == pytest.approx(expected, abs=1e-4)


def test_the_mean_can_be_used_in_training_whoever_asked_for_it_first():
    with torch.inference_mode():
        mean = (loaded := numbered()).mean
    weight = torch.ones(3, requires_grad=True)
    (weight * mean[0, :, 0]).sum().backward()
    assert torch.equal(weight.grad, loaded.mean[0, :, 0])
    floats = loaded.test_images.float()
    loaded.as_input(floats)
    assert torch.equal(floats, loaded.test_images.float())  # not changed in place


def test_fingerprint_depends_on_every_pixel_and_label():
    one, same = numbered(), numbered()
    assert one.fingerprint == same.fingerprint
    pixel, label = numbered(), numbered()
    pixel.test_images[2, 0, 1, 1] += 1
    label.train_labels[3] = 0
    assert len({one.fingerprint, pixel.fingerprint, label.fingerprint}) == 3


def test_train_images_takes_the_first_so_many():
    batches = Batches(numbered(40), 5, train_images=15)
    stream = torch.cat([next(batches)[1] for _ in range(6)])
    assert all(sorted(epoch.tolist()) == list(range(15)) for epoch in stream.reshape(2, 15))
    with pytest.raises(ValueError, match="train_images must be .* at most 40; got 41"):
        Batches(numbered(40), 5, train_images=41)
    with pytest.raises(ValueError, match="batch_size must be .* at most 15; got 16"):
        Batches(numbered(40), 16, train_images=15)


@given(
    n=st.integers(1, 40), size=st.integers(1, 40), seed=st.integers(0, 5), shuffle=st.booleans()
)
def test_batches_use_every_image_once_an_epoch(n, size, seed, shuffle):
    size = min(size, n)
    batches = Batches(numbered(n), size, seed=seed, shuffle=shuffle)
    stream = torch.cat([next(batches)[1] for _ in range(3 * n)])
    for epoch in stream[: 3 * n].reshape(3, n):
        assert sorted(epoch.tolist()) == list(range(n))
    if not shuffle:
        assert stream[:n].tolist() == list(range(n))


@given(st.integers(0, 30), st.integers(1, 3))
def test_the_position_is_all_there_is_to_save(steps, more):
    def make():
        return Batches(data.load("digits"), 100, seed=3, flip=True)

    whole = make()
    for _ in range(steps):
        next(whole)
    resumed = make()
    resumed.load_state_dict(whole.state_dict())
    for _ in range(more):
        for a, b in zip(next(whole), next(resumed), strict=True):
            assert torch.equal(a, b)


def test_seeds_differ_and_repeat():
    digits = data.load("digits")
    first = [next(Batches(digits, 100, seed=s))[1].tolist() for s in (0, 0, 1)]
    assert first[0] == first[1] != first[2]


def test_no_seed_repeats_another():
    digits = data.load("digits")
    later = Batches(digits, 1438, seed=0, flip=True)
    later.iteration = 1
    for a, b in zip(later.draw(), Batches(digits, 1438, seed=1, flip=True).draw(), strict=True):
        assert not torch.equal(a, b)


def test_flip_mirrors_about_half_of_the_images():
    digits = data.load("digits")
    plain, _ = next(Batches(digits, 1438, seed=1))
    flipped, _ = next(Batches(digits, 1438, seed=1, flip=True))
    same = (plain == flipped).flatten(1).all(1)
    mirrored = (plain.flip(-1) == flipped).flatten(1).all(1)
    assert (same | mirrored).all() and 0.45 < same.float().mean() < 0.55


def test_each_epoch_flips_anew_about_half():
    digits = data.load("digits")
    batches = Batches(digits, 719, flip=True)
    first, second, third = (batches.draw()[1] for _ in range(3))
    assert not torch.equal(first, third)
    assert all(0.4 < part.float().mean() < 0.6 for part in (first, second))


def folder(path, modes=("RGB",) * 2, sizes=((6, 4),) * 2, classes=("cat", "dog")):
    for part in ("train", "test"):
        for name in classes:
            (path / part / name).mkdir(parents=True)
            for i, (mode, size) in enumerate(zip(modes, sizes, strict=True)):
                colour = 100 + i if mode == "L" else (10 * i, 50, 200)
                Image.new(mode, size, colour).save(path / part / name / f"{i}.png")
    return path


def test_an_image_folder(tmp_path):
    loaded = data.load(f"folder:{folder(tmp_path / 'pets')}")
    assert loaded.name == "folder:pets" and loaded.classes == ("cat", "dog")
    assert loaded.image_shape == (3, 4, 6) and sorted(loaded.train_labels) == [0, 0, 1, 1]
    colours = loaded.train_images[:, 0, 0, 0].tolist()
    pairs = zip(colours, loaded.train_labels.tolist(), strict=True)
    assert sorted(pairs) == [(0, 0), (0, 1), (10, 0), (10, 1)]
    assert (loaded.train_images[:, 1:, 0, 0] == torch.tensor([50, 200])).all()
    grey = data.load(f"folder:{folder(tmp_path / 'grey', modes=('L', 'L'))}")
    assert grey.image_shape == (1, 4, 6)
    assert sorted(grey.test_images[:, 0, 2, 3].tolist()) == [100, 100, 101, 101]


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("coloured", range(4))
def test_one_coloured_image_makes_all_of_them_coloured(tmp_path, part, coloured):
    path = folder(tmp_path / "mixed", modes=("L", "L"))
    file = path / part / ("cat", "dog")[coloured // 2] / f"{coloured % 2}.png"
    Image.new("RGB", (6, 4), (1, 2, 3)).save(file)
    mixed = data.load(f"folder:{path}")
    assert mixed.image_shape == (3, 4, 6) == tuple(mixed.test_images.shape[1:])
    images = mixed.train_images if part == "train" else mixed.test_images
    assert [1, 2, 3] in images[:, :, 0, 0].tolist()


def test_an_image_folders_order_mixes_the_classes_and_is_always_the_same(tmp_path):
    path = folder(tmp_path / "many", ("L",) * 50, ((2, 2),) * 50)
    loaded, again = data.load(f"folder:{path}"), data.load(f"folder:{path}")
    assert loaded.fingerprint == again.fingerprint
    changes = (loaded.train_labels.diff() != 0).sum()
    assert 30 < changes < 70  # class by class it would be 1


@pytest.mark.parametrize(
    ("text", "kind", "name", "title"),
    [
        ("digits", "digits", "digits", "digits"),
        ("mnist", "mnist", "mnist", "MNIST"),
        ("cifar10", "cifar10", "cifar10", "CIFAR-10"),
        ("cifar100", "cifar100", "cifar100", "CIFAR-100"),
        ("folder:/some/where/pets", "folder", "folder:pets", "pets"),
        ("folder:a/../cifar10-jpeg/", "folder", "folder:cifar10-jpeg", "CIFAR-10 (JPEG copy)"),
        ("folder:~/a:b", "folder", "folder:a:b", "a:b"),
    ],
)
def test_what_a_data_sets_name_means(text, kind, name, title):
    source = Source.parse(text)
    assert (source.kind, source.name, source.title) == (kind, name, title)
    assert Source.parse(source.name).title == title


@pytest.mark.parametrize(
    "text", ["cifar11", "", "folder", "folder:", "folder:/", "Folder:a", "a:b"]
)
def test_other_names_of_data_sets_are_refused(text):
    says = "dataset must be one of digits, text, mnist, cifar10, cifar100, folder:PATH; got"
    with pytest.raises(ValueError, match=f"{says} '{text}'"):
        Source.parse(text)


@pytest.mark.parametrize("name", ["<b>x", 'a"b', "a|b", "a`b", "a\nb", "\x1b[31m"])
def test_a_folder_whose_name_could_be_taken_for_html_or_markdown_is_refused(name):
    with pytest.raises(ValueError, match=r"no control character and none of < > \" | `; got"):
        Source.parse(f"folder:/some/where/{name}")
    assert Source.parse("folder:Äpfel & Birnen (2), it's_new-1.0").kind == "folder"
    with pytest.raises(ValueError, match="dataset must be one of"):
        Source.parse("folder:a\0b")


def test_what_is_wrong_with_a_data_set_is_said(tmp_path):
    with pytest.raises(ValueError, match="dataset must be one of digits, .*; got 'cifar11'"):
        data.load("cifar11")
    with pytest.raises(TypeError, match="dataset must be one of .*folder:PATH; got 3"):
        data.load(3)
    (tmp_path / "half" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="half' has no folder test/"):
        data.load(f"folder:{tmp_path / 'half'}")
    (tmp_path / "half" / "test").mkdir()
    with pytest.raises(ValueError, match="half' has no image in .*cat"):
        data.load(f"folder:{tmp_path / 'half'}")
    with pytest.raises(ValueError, match=r"1.png has \(9, 9\) pixels, .* \(4, 6\)"):
        data.load(f"folder:{folder(tmp_path / 'sizes', sizes=((6, 4), (9, 9)))}")
    folder(tmp_path / "differ")
    for file in (tmp_path / "differ" / "test").glob("*/*.png"):
        Image.new("RGB", (5, 5)).save(file)
    with pytest.raises(ValueError, match=r"test/.* has \(5, 5\) pixels, .* \(4, 6\)"):
        data.load(f"folder:{tmp_path / 'differ'}")
    (folder(tmp_path / "broken") / "test" / "dog" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot read the image .*dog/1.png"):
        data.load(f"folder:{tmp_path / 'broken'}")
    (folder(tmp_path / "classes") / "test" / "dog").rename(tmp_path / "classes/test/wolf")
    with pytest.raises(ValueError, match=r"\['dog', 'wolf'\] is not in both"):
        data.load(f"folder:{tmp_path / 'classes'}")


@pytest.mark.parametrize(("mode", "value"), [("I;16", 40_000), ("I", 40_000), ("F", 0.5)])
@pytest.mark.parametrize("among", ["L", "RGB"])
def test_an_image_with_more_than_8_bits_is_refused_by_its_name(tmp_path, mode, value, among):
    path = folder(tmp_path / "deep", modes=(among, among))
    file = path / "test" / "dog" / "deep.tif"
    Image.new(mode, (6, 4), value).save(file)
    with pytest.raises(ValueError, match=f"dog/deep.tif has more than 8 bits .*mode {mode}"):
        data.load(f"folder:{path}")


def test_names_that_begin_with_a_dot_are_not_looked_at(tmp_path):
    path = folder(tmp_path / "pets")
    plain = data.load(f"folder:{path}").fingerprint
    for part in ("train", "test"):
        (path / part / ".ipynb_checkpoints").mkdir()
        Image.new("RGB", (6, 4)).save(path / part / ".ipynb_checkpoints" / "a.png")
        Image.new("RGB", (6, 4)).save(path / part / "cat" / ".a.png")
        (path / part / "cat" / ".thumbnails").mkdir()
        Image.new("RGB", (6, 4)).save(path / part / "cat" / ".thumbnails" / "a.png")
    assert data.load(f"folder:{path}").fingerprint == plain


def test_a_link_back_to_a_folder_multiplies_no_image(tmp_path):
    path = folder(tmp_path / "pets")
    plain = data.load(f"folder:{path}").fingerprint
    (path / "train" / "cat" / "again").symlink_to(path / "train", target_is_directory=True)
    assert data.load(f"folder:{path}").fingerprint == plain


def test_files_that_are_left_out_are_counted_in_one_line(tmp_path):
    path = folder(tmp_path / "pets")
    plain = data.load(f"folder:{path}").fingerprint
    Image.new("RGB", (6, 4)).save(path / "train" / "cat" / "a.gif")
    (path / "test" / "dog" / "notes.txt").write_text("two dogs")
    with pytest.warns(UserWarning, match=r"2 files .* are left out, the first is .*a\.gif"):
        assert data.load(f"folder:{path}").fingerprint == plain


def test_an_image_that_is_too_large_is_named(tmp_path, monkeypatch):
    path = folder(tmp_path / "pets")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ValueError, match="cannot read the image .*png: .*decompression bomb"):
        data.load(f"folder:{path}")


@pytest.mark.parametrize("size", [0, 11, 2.5, "4"])
def test_bad_batch_sizes(size):
    with pytest.raises((ValueError, TypeError), match="batch_size must be"):
        Batches(numbered(10), size)
    with pytest.raises((ValueError, TypeError), match="train_images must be"):
        Batches(numbered(10), 1, train_images=size)


def test_moving_to_a_device_keeps_everything():
    digits = data.load("digits")
    assert digits.to("cpu") is digits
    there = digits.to("meta")
    assert there.train_images.is_meta and there.name == digits.name
