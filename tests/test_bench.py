import pickle
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from clr import bench, cli

PIXELS = bench.pixels(400)
FEW = replace(PIXELS, test_images=PIXELS.test_images[:50], test_labels=PIXELS.test_labels[:50])


def test_the_floor_counts_the_convolutions():
    conv1, conv2, conv3 = 32 * 32 * 32 * 75, 16 * 16 * 32 * 800, 8 * 8 * 64 * 800
    linear = 10 * 1024
    products = 2 * conv1 + 3 * (conv2 + conv3 + linear)  # conv1 needs no gradient of its input
    operations, moved = bench.work(bench.CONFIG, bench.pixels(200))
    assert operations == 2 * 100 * products
    activations = 32 * 32 * 3 + 32 * 32 * 32 + 2 * 16 * 16 * 32 + 8 * 8 * 32 + 8 * 8 * 64
    assert 2 * 4 * 100 * activations < moved < 4 * 2 * 4 * 100 * activations


def test_the_gpus_report_on_this_cpu(monkeypatch):
    small = replace(bench.CONFIG, model="resnet8", batch_size=20, ghost_batch=10)
    small = {"one": small, "two": replace(small, precision="bfloat16")}
    monkeypatch.setattr(bench, "ON_A_GPU", small)
    monkeypatch.setattr(bench, "pixels", lambda: FEW)
    lines = list(bench.gpu_report(1, 1, "cpu"))
    assert len(lines) == 11 and lines[6].startswith("two: ")
    found = re.search(r"floor of (.*) GFLOP: .* floor of (.*) MB", " ".join(lines[1:6]))
    operations, moved = bench.work(small["one"], FEW)
    assert float(found[1]) == pytest.approx(operations / 1e9, abs=0.05)
    assert float(found[2]) == pytest.approx(moved / 1e6, abs=0.5)


def test_ours_and_the_tutorial_train_the_same_network():
    x = torch.randn(2, 3, 32, 32) * 50
    torch.manual_seed(0)
    plain = bench.Cifar10Full()
    torch.manual_seed(0)
    assert torch.allclose(bench.tutorial_model()(x), plain(x), rtol=1e-4, atol=1e-6)


def test_the_tutorials_images_can_be_sent_to_workers_that_are_not_forked():
    assert len(pickle.loads(pickle.dumps(bench.Images(FEW)))) == 400


@pytest.mark.parametrize("train", [bench.ours, bench.tutorial, bench.lightning])
def test_the_loops_train_until_enough_steps_are_measured(train):
    if train is bench.lightning:
        pytest.importorskip("lightning")
    assert bench.step_seconds(train, FEW, 5) > 0


def test_the_first_steps_of_a_loop_are_not_measured(monkeypatch):
    taken, now = [], iter(range(100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(now) ** 2)

    def train(data, done):
        while True:
            taken.append(1)
            done()

    assert bench.step_seconds(train, FEW, 3) == (7**2 - 4**2) / 3
    assert len(taken) == bench.WARM_UP + 3


def test_ctrl_c_stops_also_lightnings_loop():
    pytest.importorskip("lightning")
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.lightning(FEW, lambda: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_report_has_a_line_per_loop_and_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(bench, "pixels", lambda: FEW)
    monkeypatch.setattr(bench, "step_seconds", lambda *_: 0.1)
    monkeypatch.setattr(bench, "peak_memory", lambda: 10**9)
    monkeypatch.setattr(bench, "find_spec", lambda name: name == "lightning")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    missing, _, *lines = bench.report(["fastai", "lightning"], 1)
    assert missing == "fastai is not installed and left out"
    assert [line.split()[0] for line in lines[:3]] == ["ours", "tutorial", "lightning"]
    assert all("100.0 ms per step, 1.00 times ours" in line for line in lines[:3])


def test_machine():
    assert bench.matmul_rate(256) > 1e8
    assert 1e8 < bench.peak_memory() < 1.5e9


def test_command_line(capsys):
    assert cli.main(["bench", "--against", "keras"]) == 2
    assert "--against must be one of fastai, lightning; got 'keras'" in capsys.readouterr().err
    assert cli.main(["bench", "--against", "fastai,lightning"]) == 2
    done = subprocess.run([sys.executable, "-m", "clr", "bench", "--help"], capture_output=True)
    assert done.returncode == 0 and b"--rounds" in done.stdout
