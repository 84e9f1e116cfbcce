import json
import platform

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
        "seconds", "device", "processor", "instructions", "cores", "threads",
        "python", "torch", "numpy", "commit", "written",
    }  # fmt: skip
    assert block["torch"] == torch.__version__ and block["threads"] == torch.get_num_threads()
    assert block["cores"] == psutil.cpu_count(logical=False)
    assert block["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert block["processor"] == provenance.processor()
    assert str(store) not in json.dumps(json.loads(run.path.read_text()))


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
