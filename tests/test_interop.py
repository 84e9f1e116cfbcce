"""`PolicyLR` in Lightning and in Hugging Face's Trainer, and again from a checkpoint."""

import numpy as np
import pytest
import torch

from clr.policies import Triangular
from clr.scheduler import PolicyLR

POLICY = Triangular(0.01, 0.1, 4)
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
            scheduler = {"scheduler": PolicyLR(sgd, POLICY), "interval": "step"}
            return {"optimizer": sgd, "lr_scheduler": scheduler}

    def fit(steps, **kwargs):
        trainer = lightning.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
        )  # fmt: skip
        module = Module()
        trainer.fit(
            module, torch.utils.data.DataLoader([BATCH] * 30, batch_size=None), **kwargs
        )
        return trainer, module.rates

    trainer, rates = fit(10)
    assert rates == POLICY(np.arange(10)).tolist()
    trainer.save_checkpoint(tmp_path / "checkpoint")
    _, rates = fit(17, ckpt_path=tmp_path / "checkpoint")
    assert rates == POLICY(np.arange(10, 17)).tolist()


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

    def fit(steps, resume=None):
        model = Model()
        model.sgd = torch.optim.SGD(model.parameters(), lr=0.5)
        arguments = transformers.TrainingArguments(
            tmp_path, max_steps=steps, per_device_train_batch_size=2, report_to=[],
            save_steps=10, use_cpu=True, disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, arguments, train_dataset=[{"x": row} for row in BATCH.repeat(20, 1)],
            optimizers=(model.sgd, PolicyLR(model.sgd, POLICY)),
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return model.rates

    assert fit(10) == POLICY(np.arange(10)).tolist()
    rates = fit(17, resume=str(tmp_path / "checkpoint-10"))
    assert rates == POLICY(np.arange(10, 17)).tolist()
