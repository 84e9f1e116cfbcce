import subprocess
import sys

import pytest
import torch

from clr import bench, cli


def test_the_floor_counts_the_convolutions():
    """Multiply-adds per image, counted on the layers themselves."""
    counted = {}

    def count(name):
        def hook(layer, inputs, output):
            per_output = layer.weight[0].numel()
            counted[name] = output[0].numel() * per_output

        return hook

    model = bench.Cifar10Full()
    for name in bench.FORWARD:
        getattr(model, name).register_forward_hook(count(name))
    model(torch.zeros(1, 3, 32, 32))
    assert counted == bench.FORWARD
    assert pytest.approx(6.88e9, rel=0.01) == bench.STEP_FLOPS


def test_ours_and_the_tutorial_take_steps_of_the_same_network():
    data = bench.pixels(400)
    x = torch.randn(2, 3, 32, 32) * 50
    torch.manual_seed(0)
    plain = bench.Cifar10Full()
    torch.manual_seed(0)
    assert torch.allclose(bench._Tutorial()(x), plain(x), rtol=1e-4, atol=1e-6)
    for loop in (bench.ours(data), bench.tutorial(data)):
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
