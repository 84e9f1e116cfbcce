"""`PolicyLR` in Lightning, Hugging Face's Trainer and Accelerate, also from a checkpoint."""

import numpy as np
import pytest
import torch

from clr.policies import Triangular, WarmupLinear
from clr.scheduler import PolicyLR

POLICY = Triangular(0.01, 0.1, 4)
SHORT, LONGER = (WarmupLinear(0.1, n, warmup=4) for n in (10, 17))
BATCH = torch.ones(2, 3)


def test_lightning_by_step(tmp_path):
    lightning = pytest.importorskip("lightning", reason="needs the 'interop' extra")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.rates = torch.nn.Linear(3, 1), []

        def training_step(self, batch, index):
            self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
            return self.layer(batch).square().mean()

        def configure_optimizers(self):
            sgd = torch.optim.SGD(self.parameters(), lr=0.5)
            scheduler = {"scheduler": PolicyLR(sgd, **self.follows), "interval": "step"}
            return {"optimizer": sgd, "lr_scheduler": scheduler}

    def fit(steps, policy=POLICY, change_policy=False, **kwargs):
        trainer = lightning.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
        )  # fmt: skip
        module = Module()
        module.follows = {"policy": policy, "change_policy": change_policy}
        trainer.fit(
            module, torch.utils.data.DataLoader([BATCH] * 30, batch_size=None), **kwargs
        )
        return trainer, module.rates

    trainer, rates = fit(10)
    assert rates == POLICY(np.arange(10)).tolist()
    trainer.save_checkpoint(tmp_path / "checkpoint")
    _, rates = fit(17, ckpt_path=tmp_path / "checkpoint")
    assert rates == POLICY(np.arange(10, 17)).tolist()
    trainer, _ = fit(8, SHORT)
    trainer.save_checkpoint(tmp_path / "short")
    with pytest.raises(ValueError, match="change_policy=True.*configure_optimizers"):
        fit(17, LONGER, ckpt_path=tmp_path / "short")
    _, rates = fit(17, LONGER, change_policy=True, ckpt_path=tmp_path / "short")
    assert rates == LONGER(np.arange(8, 17)).tolist()


def test_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the 'interop' extra")
    pytest.importorskip("accelerate", reason="needs the 'interop' extra")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.rates = torch.nn.Linear(3, 1), []

        def forward(self, x):
            self.rates.append(self.sgd.param_groups[0]["lr"])
            return {"loss": self.layer(x).square().mean()}

    def fit(steps, resume=None, policy=POLICY, **kwargs):
        model = Model()
        model.sgd = torch.optim.SGD(model.parameters(), lr=0.5)
        arguments = transformers.TrainingArguments(
            tmp_path, max_steps=steps, per_device_train_batch_size=2, report_to=[],
            save_steps=5, use_cpu=True, disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, arguments, train_dataset=[{"x": row} for row in BATCH.repeat(20, 1)],
            optimizers=(model.sgd, PolicyLR(model.sgd, policy, **kwargs)),
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return model.rates

    assert fit(10) == POLICY(np.arange(10)).tolist()
    rates = fit(17, resume=str(tmp_path / "checkpoint-10"))
    assert rates == POLICY(np.arange(10, 17)).tolist()
    fit(10, policy=SHORT)
    checkpoint = str(tmp_path / "checkpoint-5")
    with pytest.raises(ValueError, match="change_policy=True.*Trainer"):
        fit(17, checkpoint, LONGER)
    rates = fit(17, checkpoint, LONGER, change_policy=True)
    assert rates == LONGER(np.arange(5, 17)).tolist()


@pytest.fixture
def accelerator():
    """A function that makes an Accelerator; each test begins without the state of another."""
    accelerate = pytest.importorskip("accelerate", reason="needs the 'interop' extra")
    state = accelerate.state

    def make(**kwargs):
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()
        return accelerate.Accelerator(cpu=True, **kwargs)

    yield make
    state.AcceleratorState._reset_state(reset_partial_state=True)
    state.GradientState._reset_state()


def accelerated(accelerator, batches):
    """The rate of each update."""
    layer = torch.nn.Linear(3, 1)
    sgd = torch.optim.SGD(layer.parameters(), lr=0.5)
    model, optimizer, scheduler = accelerator.prepare(layer, sgd, PolicyLR(sgd, POLICY))
    rates = []
    for _ in range(batches):
        with accelerator.accumulate(model):
            accelerator.backward(model(BATCH).square().mean())
            if accelerator.sync_gradients:
                rates.append(sgd.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return rates


def test_accelerate_steps_once_per_update_with_accumulation(accelerator):
    rates = accelerated(accelerator(gradient_accumulation_steps=3), 12)
    assert rates == POLICY(np.arange(4)).tolist()


def test_accelerate_on_two_processes_takes_two_iterations_per_update(accelerator, monkeypatch):
    """Its own rule, which the docstring of PolicyLR explains."""

    class TwoProcesses:
        num_processes = 2

    made = accelerator()
    monkeypatch.setattr("accelerate.scheduler.AcceleratorState", TwoProcesses)
    assert accelerated(made, 6) == POLICY(np.arange(0, 12, 2)).tolist()
    made = accelerator(step_scheduler_with_optimizer=False)
    assert accelerated(made, 6) == POLICY(np.arange(6)).tolist()
