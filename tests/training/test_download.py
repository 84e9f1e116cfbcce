import gzip
import hashlib
import http.server
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, MNIST

from clr.training import data

ADVICE = r"CLR_DATA name that folder; dataset='digits' needs no download"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, after `server.wait` seconds, and breaks off at `server.cut`."""

    def do_GET(self):
        self.server.closing.wait(self.server.wait)
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        if self.headers.get("Method") != "HEAD":  # torchvision's question for a redirection
            self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.cut])

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # a client that has hung up


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.cut = {}, [], None
        server.wait, server.closing = 0.0, threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


def cifar(server, monkeypatch, tmp_path):
    """A tiny CIFAR-10 on the server, torchvision's class told of it; returns CLR_DATA."""
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
    return tmp_path / "here"


def files(folder):
    """What lies in a folder, except for locks."""
    return {path.name for path in folder.rglob("*") if path.suffix != ".lock"}


def test_cifar10_is_downloaded_once_and_read_from_there(server, tmp_path, monkeypatch):
    here = cifar(server, monkeypatch, tmp_path)
    loaded = data.load("cifar10")
    assert loaded.image_shape == (3, 32, 32) and len(loaded.train_images) == 20
    first = pickle.loads((tmp_path / "source/cifar-10-batches-py/data_batch_1").read_bytes())
    assert np.array_equal(loaded.train_images[0].numpy().ravel(), first["data"][0])
    assert data.load("cifar10").fingerprint == loaded.fingerprint
    assert server.asked == [f"/{CIFAR10.filename}"]
    (here / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"damaged")
    assert data.load("cifar10").fingerprint == loaded.fingerprint  # unpacked anew
    assert server.asked == [f"/{CIFAR10.filename}"]
    assert not any(name.endswith(".download") for name in files(here))


def test_threads_that_ask_at_the_same_time_download_once(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    server.wait = 0.5
    with ThreadPoolExecutor(3) as pool:  # each has a lock of its own, as processes have
        loaded = list(pool.map(data.load, ["cifar10"] * 3))
    assert len({each.fingerprint for each in loaded}) == 1
    assert server.asked == [f"/{CIFAR10.filename}"]


def test_another_process_is_waited_for(server, tmp_path, monkeypatch):
    here = cifar(server, monkeypatch, tmp_path)
    script = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""
    here.mkdir()
    command = [sys.executable, "-c", script, str(here / ".CIFAR10.download.lock")]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        assert other.stdout.readline() == "locked\n"
        loading = pool.submit(data.load, "cifar10")
        with pytest.raises(TimeoutError):
            loading.result(timeout=0.5)
        assert server.asked == []
        other.stdin.close()  # it unlocks and ends
        assert len(loading.result(timeout=60).train_images) == 20


def test_data_in_a_folder_that_cannot_be_written(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    first = data.load("cifar10")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(data.FileLock, "acquire", refuse)
    assert data.load("cifar10").fingerprint == first.fingerprint


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLR_DATA", str(tmp_path / "file" / "here"))
    says = f"download CIFAR10 to {tmp_path}/file/here: .*Not a directory.*{ADVICE}"
    with pytest.raises(ConnectionError, match=says):
        data.load("cifar10")
    assert server.asked == []


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:9/{CIFAR10.filename}")
    monkeypatch.setenv("CLR_DATA", str(tmp_path))
    says = f"could not download CIFAR10 to {tmp_path}: .*refused.*{ADVICE}"
    with pytest.raises(ConnectionError, match=says):
        data.load("cifar10")
    assert files(tmp_path) == set()


def test_a_server_that_does_not_answer_is_given_up(server, tmp_path, monkeypatch):
    cifar(server, monkeypatch, tmp_path)
    monkeypatch.setattr(data, "TIMEOUT", 0.2)
    server.wait = 60
    with pytest.raises(ConnectionError, match=f"timed out.*{ADVICE}"):
        data.load("cifar10")
    assert socket.getdefaulttimeout() is None


def test_a_wrong_checksum_is_refused_and_leaves_nothing_behind(server, tmp_path, monkeypatch):
    here = cifar(server, monkeypatch, tmp_path)
    server.files[f"/{CIFAR10.filename}"] = b"another file"
    with pytest.raises(ConnectionError, match="could not download CIFAR10 .* corrupted"):
        data.load("cifar10")
    assert files(here) == set()


def test_after_a_connection_that_breaks_off_the_next_call_starts_anew(
    server, tmp_path, monkeypatch
):
    here = cifar(server, monkeypatch, tmp_path)
    server.cut = 1000
    with pytest.raises(
        ConnectionError, match="could not download CIFAR10 .*Nothing incomplete"
    ):
        data.load("cifar10")
    assert files(here) == set()
    server.cut = None
    assert len(data.load("cifar10").train_images) == 20


def test_what_a_killed_download_left_behind_is_removed(server, tmp_path, monkeypatch):
    here = cifar(server, monkeypatch, tmp_path)
    (here / ".CIFAR10.download").mkdir(parents=True)
    (here / ".CIFAR10.download" / CIFAR10.filename).write_bytes(b"half")
    assert len(data.load("cifar10").train_images) == 20
    assert ".CIFAR10.download" not in files(here)


def test_an_archive_that_is_there_is_unpacked_without_a_network(server, tmp_path, monkeypatch):
    here = cifar(server, monkeypatch, tmp_path)
    here.mkdir()
    (here / CIFAR10.filename).write_bytes(server.files.pop(f"/{CIFAR10.filename}"))
    assert len(data.load("cifar10").train_images) == 20


def mnist(server, monkeypatch, tmp_path):
    """A tiny MNIST on the server, below good/ alone; returns CLR_DATA."""
    resources = []
    for name, _ in MNIST.resources:
        n = 3 if name.startswith("train") else 2
        if "images" in name:
            body = np.arange(n * 784, dtype=np.uint8).tobytes()
            head = np.array([0x803, n, 28, 28], ">i4").tobytes()
        else:
            body, head = bytes(range(n)), np.array([0x801, n], ">i4").tobytes()
        content = gzip.compress(head + body)
        server.files[f"/good/{name}"] = content
        resources.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(MNIST, "mirrors", [server.url + "bad/", server.url + "good/"])
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setenv("CLR_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("bad", [None, b"another file"])
def test_mnist_tries_the_next_address(server, tmp_path, monkeypatch, bad):
    mnist(server, monkeypatch, tmp_path)
    if bad:
        server.files |= {f"/bad/{name}": bad for name, _ in MNIST.resources}
    loaded = data.load("mnist")
    assert loaded.image_shape == (1, 28, 28) and loaded.train_labels.tolist() == [0, 1, 2]
    assert loaded.test_images[1, 0, 0, 5] == (784 + 5) % 256


def test_mnist_half_downloaded_leaves_nothing_and_names_every_address(
    server, tmp_path, monkeypatch
):
    here = mnist(server, monkeypatch, tmp_path)
    lost = MNIST.resources[2][0]
    content = server.files.pop(f"/good/{lost}")
    says = f"Error downloading {lost}.*/bad/.*404.*/good/.*404.*{ADVICE}"
    with pytest.raises(ConnectionError, match=says):
        data.load("mnist")
    assert files(here) == set()
    server.files[f"/good/{lost}"] = content
    assert len(data.load("mnist").test_images) == 2
