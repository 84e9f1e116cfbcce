import hashlib
import http.server
import pickle
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clr.training import datasets, download
from clr.training.download import fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, honours Range, and breaks off after `server.cut` bytes."""

    def do_GET(self):
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append(start)
        time.sleep(self.server.wait)
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.cut = {"/file": CONTENT}, [], 10**9
        server.wait = 0.0
        server.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_broken_download_goes_on_where_it_was(server, tmp_path):
    server.cut = 1_000_000
    for have in (1_000_000, 2_000_000):
        with pytest.raises(ConnectionError, match=f"broke off at {have} of 3000000"):
            fetch(server.url + "file", tmp_path / "file", MD5)
        assert not (tmp_path / "file").exists()
    assert fetch(server.url + "file", tmp_path / "file", MD5).read_bytes() == CONTENT
    assert server.asked == [0, 1_000_000, 2_000_000]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    fetch(server.url + "file", tmp_path / "file", MD5)
    (tmp_path / "file").rename(tmp_path / "file.part")  # complete, but never renamed
    fetch(server.url + "file", tmp_path / "file", MD5)
    assert server.asked == [3_000_000]


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(ValueError, match="has md5 .* was expected; it was thrown away"):
        fetch(server.url + "file", tmp_path / "file", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def cifar(server, monkeypatch, tmp_path):
    """A tiny CIFAR-10 on the server, torchvision's class told of it, and an empty CLR_DATA."""
    from torchvision.datasets import CIFAR10

    folder, random = tmp_path / "source", np.random.default_rng(1)
    source = folder / "cifar-10-batches-py"
    source.mkdir(parents=True)

    def write(name, content):
        (source / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((source / name).read_bytes()).hexdigest()]

    def batch(n):
        pixels = random.integers(0, 256, (n, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": list(range(n))}

    train = [write(f"data_batch_{i}", batch(4)) for i in range(1, 6)]
    test = [write("test_batch", batch(4))]
    meta = write("batches.meta", {"label_names": list("abcdefghij")})
    archive = folder / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source, arcname=source.name)
    content = archive.read_bytes()
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    )
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    server.files[f"/{CIFAR10.filename}"] = content
    monkeypatch.setattr(CIFAR10, "url", server.url + CIFAR10.filename)
    monkeypatch.setenv("CLR_DATA", str(tmp_path / "here"))


def test_cifar10_is_downloaded_once_and_read_from_there(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    loaded = datasets.load("cifar10")
    assert loaded.image_shape == (3, 32, 32) and len(loaded.train_images) == 20
    first = pickle.loads((tmp_path / "source/cifar-10-batches-py/data_batch_1").read_bytes())
    assert np.array_equal(loaded.train_images[0].numpy().ravel(), first["data"][0])
    assert datasets.load("cifar10").fingerprint == loaded.fingerprint
    assert server.asked == [0]


def test_two_processes_download_once(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    server.wait = 0.5
    with ThreadPoolExecutor(3) as pool:  # file locks keep threads apart, too
        loaded = list(pool.map(datasets.load, ["cifar10"] * 3))
    assert len({each.fingerprint for each in loaded}) == 1
    assert server.asked == [0]


def test_data_in_a_folder_that_cannot_be_written(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    first = datasets.load("cifar10")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(download.FileLock, "acquire", refuse)
    assert datasets.load("cifar10").fingerprint == first.fingerprint


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:9/{CIFAR10.filename}")
    monkeypatch.setenv("CLR_DATA", str(tmp_path))
    with pytest.raises(ConnectionError, match="could not download .*CLR_DATA.*digits"):
        datasets.load("cifar10")


def test_mnist_tries_the_next_address(server, tmp_path, monkeypatch):
    import gzip

    from torchvision.datasets import MNIST

    files, resources = {}, []
    for name, _ in MNIST.resources:
        n = 3 if name.startswith("train") else 2
        if "images" in name:
            body = np.arange(n * 784, dtype=np.uint8).tobytes()
            head = np.array([0x803, n, 28, 28], ">i4").tobytes()
        else:
            body, head = bytes(range(n)), np.array([0x801, n], ">i4").tobytes()
        content = gzip.compress(head + body)
        files[f"/good/{name}"] = content
        resources.append((name, hashlib.md5(content).hexdigest()))
    server.files = files
    monkeypatch.setattr(MNIST, "mirrors", [server.url + "bad/", server.url + "good/"])
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setenv("CLR_DATA", str(tmp_path))
    loaded = datasets.load("mnist")
    assert loaded.image_shape == (1, 28, 28) and loaded.train_labels.tolist() == [0, 1, 2]
    assert loaded.test_images[1, 0, 0, 5] == (784 + 5) % 256
