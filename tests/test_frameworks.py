"""docs/frameworks.md: the code of each section is executed, with a small model and data.

The names that a section takes from the reader's training are given here. Then the scheduler
must have followed the policy for as many iterations as there were updates.
"""

import importlib
import re
from functools import partial

import pytest
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset

from clr.paths import ROOT
from clr.policies import WarmupStableDecay
from clr.range_test import lr_range_test
from clr.scheduler import PolicyLR

TEXT = (ROOT / "docs" / "frameworks.md").read_text()
CODE = dict(re.findall(r"^## (.*?)\n.*?^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
LOCK = (ROOT / "requirements.lock").read_text()
EPOCHS = 2
LABELS = torch.arange(256) % 2
INPUTS = torch.randn(256, 4, generator=torch.Generator().manual_seed(0)) + 3 * LABELS[:, None]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, inputs):
        return self.layers(inputs)


def imported(framework):
    """The framework; if it is not in the lock, the test is skipped without it."""
    if re.search(rf"^{framework}==", LOCK, re.MULTILINE):
        return importlib.import_module(framework)
    return pytest.importorskip(framework, reason=f"{framework} is not in requirements.lock")


def training():
    """The names that all sections share; one epoch has 16 batches."""
    torch.manual_seed(0)
    model = Network()
    names = {
        "torch": torch,
        "Network": Network,
        "model": model,
        "loss": nn.functional.cross_entropy,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "data": TensorDataset(INPUTS, LABELS),
        "batches": DataLoader(TensorDataset(INPUTS, LABELS), 16, shuffle=True),
        "epochs": EPOCHS,
        "WarmupStableDecay": WarmupStableDecay,
        "PolicyLR": PolicyLR,
        "lr_range_test": lr_range_test,
        "partial": partial,
    }
    exec(re.search(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[1], names)
    assert names["n"] == 32
    return names


def execute(section, **more):
    """Execute a section's code; returns the names that it has set, and checks its bounds."""
    names = training() | more
    exec(CODE[section], names)
    assert 0 < names["found"].bounds().peak < 10
    return names


def followed(names, iterations, scale=1.0, lr=None):
    """Whether the optimizer has the policy's rate after that many iterations."""
    rate = names["optimizer"].param_groups[0]["lr"] if lr is None else lr
    assert float(rate) == pytest.approx(scale * names["policy"](iterations))
    return True


def test_each_section_has_a_test():
    assert set(CODE) == {
        "Lightning", "Hugging Face Trainer", "Accelerate", "DDP and FSDP", "Ignite", "skorch",
        "timm", "Gradient accumulation", "Gradient clipping", "Mixed precision",
        "torch.compile",
    }  # fmt: skip
    assert TEXT.count("```python") == len(CODE) + 1


def test_lightning(tmp_path):
    lightning = imported("lightning")
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    names = execute("Lightning", lightning=lightning, trainer=trainer)
    assert followed(names, 32, lr=trainer.optimizers[0].param_groups[0]["lr"])


def test_hugging_face_trainer(tmp_path):
    transformers = imported("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 10}
    config = transformers.BertConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    arguments = transformers.TrainingArguments(
        tmp_path, num_train_epochs=EPOCHS, per_device_train_batch_size=16, report_to=[],
        use_cpu=True, disable_tqdm=True, logging_strategy="no", save_strategy="no",
    )  # fmt: skip
    rows = [
        {"input_ids": torch.tensor([5 + i % 2] * 4 + [7]), "labels": i % 2} for i in range(256)
    ]
    names = execute(
        "Hugging Face Trainer", model=model, arguments=arguments, rows=rows,
        Trainer=transformers.Trainer, optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
    )  # fmt: skip
    assert followed(names, 32)


def test_accelerate():
    accelerate = imported("accelerate")
    reset = accelerate.state.AcceleratorState._reset_state
    reset(reset_partial_state=True)
    try:
        make = partial(accelerate.Accelerator, cpu=True)
        assert followed(execute("Accelerate", Accelerator=make), 16)
    finally:
        reset(reset_partial_state=True)
        accelerate.state.GradientState._reset_state()


def in_a_process(rank, folder):
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DistributedSampler

    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    try:
        found = []
        for wrapper in (DistributedDataParallel, fully_shard):
            names = execute(
                "DDP and FSDP", DistributedDataParallel=wrapper, DataLoader=DataLoader,
                DistributedSampler=DistributedSampler,
            )  # fmt: skip
            assert followed(names, 0)
            found.append(names["found"].bounds())
        torch.save(found, f"{folder}/{rank}")
    finally:
        distributed.destroy_process_group()


def test_ddp_and_fsdp(tmp_path):
    torch.multiprocessing.spawn(in_a_process, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / str(rank), weights_only=False) for rank in (0, 1))
    assert one == other


def test_ignite():
    engine = imported("ignite.engine")
    names = execute(
        "Ignite",
        create_supervised_trainer=engine.create_supervised_trainer,
        Events=engine.Events,
    )
    assert followed(names, 32)


def test_skorch():
    skorch = imported("skorch")
    names = execute(
        "skorch",
        NeuralNetClassifier=partial(
            skorch.NeuralNetClassifier, train_split=None, batch_size=16, verbose=0
        ),
        LRScheduler=importlib.import_module("skorch.callbacks").LRScheduler,
        inputs=INPUTS,
        labels=LABELS,
    )
    assert followed(names, 32, lr=names["net"].optimizer_.param_groups[0]["lr"])


def test_timm():
    optim = imported("timm.optim")

    class Layered(Network):
        def group_matcher(self, coarse=False):  # the layers of timm's own models
            return {"stem": r"^layers\.0", "blocks": r"^layers\.(\d+)"}

    names = execute("timm", model=Layered(), create_optimizer_v2=optim.create_optimizer_v2)
    scales = [group["lr_scale"] for group in names["optimizer"].param_groups]
    assert min(scales) < max(scales)
    assert followed(names, 16, scale=scales[0])


def test_gradient_clipping():
    assert followed(execute("Gradient clipping"), 16)


def test_gradient_accumulation():
    assert followed(execute("Gradient accumulation"), 4)


def test_mixed_precision():
    assert followed(execute("Mixed precision", device="cpu"), 16)


def test_torch_compile(monkeypatch):
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    names = execute("torch.compile")
    assert followed(names, 16)
    assert counter.frame_count == 1
