import json
import platform
import re
import subprocess

import psutil
import pytest
import torch

from clr.policies import Triangular
from clr.runs import Store, provenance
from clr.training import RunConfig


def test_a_record_says_where_it_was_made(store):
    run = Store.usual().train(RunConfig(Triangular(0.01, 0.1, 5), 4, test_every=2))
    block = run.provenance
    assert set(block) == {
        "seconds", "device", "processor", "instructions", "tf32", "cores", "threads",
        "python", "torch", "numpy", "commit", "written",
    }  # fmt: skip
    assert block["torch"] == torch.__version__ and block["threads"] == torch.get_num_threads()
    assert block["cores"] == psutil.cpu_count(logical=False)
    assert block["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert block["processor"] == provenance.processor()
    assert block["tf32"] is False
    assert str(store) not in json.dumps(json.loads(run.path.read_text()))


@pytest.mark.parametrize("allowed", [True, False])
def test_a_record_of_a_gpu_says_whether_convolutions_were_tf32(allowed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    monkeypatch.setattr(provenance.torch.backends.cudnn, "allow_tf32", allowed)
    block = provenance.stamp(1.0, "cuda:1", None)
    assert block["tf32"] is allowed and block["device"].startswith("GPU cuda:1 (")


def git(*arguments, cwd):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *arguments], cwd=cwd, check=True, capture_output=True)


def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
    git("init", cwd=tmp_path)
    inside = tmp_path / ".venv" / "lib"
    inside.mkdir(parents=True)
    (tmp_path / "clr").mkdir()
    (tmp_path / "clr" / "a.py").write_text("1")
    git("add", "clr", cwd=tmp_path)
    git("commit", "-m", "first", cwd=tmp_path)
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    read = provenance.commit.__wrapped__  # not the commit that this process has read already
    clean = read()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "clr" / "a.py").write_text("2")
    assert read() == clean + "+"
    monkeypatch.setattr(provenance, "ROOT", inside.resolve())  # in another project's checkout
    assert read() is None
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "nowhere")
    assert read() is None


def test_the_commit_is_read_once_per_process():
    assert provenance.commit() == provenance.commit()
    assert provenance.commit.cache_info().misses == 1


LINUX = (
    "processor\t: 0\nvendor_id\t: x\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) @ 2 GHz\n"
)


@pytest.mark.parametrize(
    ("cpuinfo", "other", "name"),
    [
        (LINUX + LINUX, "", "Intel(R) Xeon(R) @ 2 GHz"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "aarch64", "aarch64"),  # ARM has no such line
        (None, "Intel64 Family 6 Model 142", "Intel64 Family 6 Model 142"),  # not Linux
        (None, "", None),
    ],
)
def test_the_processors_model_name(tmp_path, monkeypatch, cpuinfo, other, name):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(provenance, "CPUINFO", file)
    monkeypatch.setattr(platform, "processor", lambda: other)
    assert provenance.processor() == name
