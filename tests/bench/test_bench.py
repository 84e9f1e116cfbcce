import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from clr import cli
from clr.bench import gpu as bench_gpu
from clr.bench import step as bench

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
    monkeypatch.setattr(bench_gpu, "CONFIGS", small)
    monkeypatch.setattr(bench, "pixels", lambda: FEW)
    lines = list(bench_gpu.report(1, 1, "cpu"))
    assert len(lines) == 11 and lines[6].startswith("two: ")
    found = re.search(r"floor of (.*) GFLOP: .* floor of (.*) MB", " ".join(lines[1:6]))
    operations, moved = bench.work(small["one"], FEW)
    assert float(found[1]) == pytest.approx(operations / 1e9, abs=0.05)
    assert float(found[2]) == pytest.approx(moved / 1e6, abs=0.5)


def test_ours_and_the_tutorial_take_steps_of_the_same_network():
    x = torch.randn(2, 3, 32, 32) * 50
    torch.manual_seed(0)
    plain = bench.Cifar10Full()
    torch.manual_seed(0)
    assert torch.allclose(bench._Tutorial()(x), plain(x), rtol=1e-4, atol=1e-6)
    for loop in (bench.ours(FEW), bench.tutorial(FEW)):
        assert bench.seconds(lambda loop=loop: next(loop), 5) > 0


def test_another_librarys_loop_is_taken_step_by_step():
    taken = []

    def fit(after_step):
        for i in range(3):
            taken.append(i)
            after_step()
        raise RuntimeError("the end")

    loop = bench._in_thread(fit)
    for n in (1, 2, 3):
        next(loop)
        assert len(taken) == n
    with pytest.raises(RuntimeError, match="the end"):
        next(loop)


def test_machine():
    assert bench.matmul_rate(256) > 1e8
    assert 1e8 < bench.peak_memory() < 1.5e9


def test_command_line(capsys):
    assert cli.main(["bench", "--against", "keras"]) == 2
    assert "--against must be one of fastai, lightning; got 'keras'" in capsys.readouterr().err
    done = subprocess.run([sys.executable, "-m", "clr", "bench", "--help"], capture_output=True)
    assert done.returncode == 0 and b"--rounds" in done.stdout
