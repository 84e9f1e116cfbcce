"""The training loop, which makes a history from a config.

The history has a row at iteration 0, every `test_every` iterations and at the
end. A row's `lr` is what the optimizer holds at that iteration, read back from
it; `train_loss` is the mean over the batches since the row before. Where the config
keeps back validation images, a column has the accuracy on them. Where it asks for a second set
of running statistics, two columns have loss and accuracy of the tests with these.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm import tqdm

from clr import checks
from clr.interrupts import noted
from clr.scheduler import PolicyLR
from clr.training import models, optim
from clr.training.config import RunConfig
from clr.training.data import Batches, Dataset
from clr.training.graph import Graphed
from clr.training.memory import keep_large_blocks

COLUMNS = ["iteration", "lr", "train_loss", "test_loss", "test_accuracy"]
VALIDATION = "validation_accuracy"
VALIDATION_LOSS = "validation_loss"  # for text, which is compared by its loss
SECOND = ["second_test_loss", "second_test_accuracy"]
GRAPHED_ON = ("cuda",)  # the devices on which an update is a CUDA graph


def columns(config: RunConfig) -> list[str]:
    """The columns of the history of a run of `config`."""
    of_text = config.source.kind == "text"
    validation = [VALIDATION_LOSS, VALIDATION] if of_text else [VALIDATION]
    validation = validation if config.validation_images else []
    second = SECOND if config.second_bn_fraction is not None else []
    return [*COLUMNS, *validation, *second]


def _cross_entropy(outputs, labels, **options):
    """Outputs of shape (N, classes), or (N, block, classes) for text."""
    return F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), **options)


class Training:
    """One run in progress: model, optimizer, schedule, batches and history so far."""

    def __init__(self, config: RunConfig, data: Dataset, device: str = "cpu"):
        self.config, self.data, self.device = config, data.to(device), torch.device(device)
        keep_large_blocks()
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)  # streams and graphs are the current device's
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = models.build(
                config.model,
                data.image_shape,
                len(data.classes),
                bn_fraction=config.bn_fraction,
                ghost_batch=config.ghost_batch,
                second_bn_fraction=config.second_bn_fraction,
            )
        self.model = model.to(device)
        self.norms = [each for each in model.modules() if isinstance(each, models.BatchNorm)]
        groups = models.param_groups(self.model, config.weight_decay)
        self.optimizer = optim.build(config.optimizer, groups, config.momentum)
        self._update = self._one_update
        self._prepare()
        self.scheduler = PolicyLR(
            self.optimizer, config.policy, momentum=config.momentum_policy
        )
        self.batches = Batches(
            self.data,
            config.batch_size,
            seed=config.seed,
            shuffle=config.shuffle,
            flip=config.flip,
            subtract_mean=config.subtract_mean,
            train_images=self._trained_on(),
        )
        self.rows: list[list[float]] = []
        # one tensor, because a small tensor per step keeps freed memory from being used again
        self._losses = torch.empty(0, device=self.device)
        self._n_losses = 0
        self.ended: str | None = None

    def _trained_on(self) -> int:
        """How many images are trained on: `train_images`, or all that are not kept back."""
        every, asked = len(self.data.train_labels), self.config.train_images
        most = max(0, every - (asked or 1))
        kept = checks.whole("validation_images", self.config.validation_images, 0, most)
        return asked or every - kept

    def _prepare(self):
        """On a GPU, make the rates tensors on it, and the update a CUDA graph."""
        if self.device.type in GRAPHED_ON and isinstance(self.optimizer, optim.SGD):
            for group in self.optimizer.param_groups:
                for name in ("lr", "momentum"):
                    value = torch.tensor(float(group[name]), dtype=torch.float64)
                    group[name] = value.to(self.device)
            self._update = Graphed(self._one_update)

    @property
    def losses(self) -> torch.Tensor:
        """The loss of each batch since the last row of the history."""
        return self._losses[: self._n_losses]

    @property
    def iteration(self) -> int:
        """How many steps have been taken."""
        return self.batches.iteration

    def _forward(self, images):
        if self.config.precision == "bfloat16":
            with torch.autocast(self.device.type, torch.bfloat16):
                return self.model(images).float()
        return self.model(images)

    def step(self):
        """One batch: loss, gradient, update, next rate."""
        if self._n_losses == len(self._losses):
            more = torch.empty(self.config.test_every, device=self.device)
            self._losses = torch.cat([self._losses, more])
        self._losses[self._n_losses] = self._update(*self.batches.draw())
        self._n_losses += 1
        self.scheduler.step()

    def _one_update(self, *drawn):
        images, labels = self.batches.images(*drawn)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(images, labels)
        if self.config.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad_norm)
        self.optimizer.step()
        return loss

    def _gradients(self, images, labels) -> torch.Tensor:
        """Add the gradients of the batch's mean loss to the weights'; returns that loss.

        On a CPU, the groups of a batch that are normalised separately are also computed one
        after another. Their tensors then fit better into the processor's caches.
        """
        ghost = self.config.ghost_batch
        if ghost is None or self.device.type != "cpu" or not self.norms:
            loss = _cross_entropy(self._forward(images), labels)
            loss.backward()
            return loss.detach()
        parts = len(images) // ghost
        total = torch.zeros(())
        for part in range(parts):
            group = images[part::parts].contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(self._forward(group), labels[part::parts]) / parts
            loss.backward()
            total += loss.detach()
            self._set_norms(counts=False)  # the running statistics are those of the first
        self._set_norms(counts=True)
        return total

    def _set_norms(self, **attributes: bool):
        for norm in self.norms:
            for name, value in attributes.items():
                setattr(norm, name, value)

    def evaluate(self) -> tuple[float, ...]:
        """The values of a row of the history, from test_loss on.

        Mean loss and accuracy on the test set, then accuracy on validation images if any (for
        text, their loss before it), then loss and accuracy on the test set with the second
        running statistics if any. Accuracies are fractions.
        """
        data, kept = self.data, self.config.validation_images
        found = [*self._measure(data.test_images, data.test_labels)]
        if kept:
            loss, accuracy = self._measure(data.train_images[-kept:], data.train_labels[-kept:])
            found.extend([loss, accuracy] if data.is_text else [accuracy])
        if self.config.second_bn_fraction is not None:
            self._set_norms(tests_with_second=True)
            found.extend(self._measure(data.test_images, data.test_labels))
            self._set_norms(tests_with_second=False)
        return tuple(found)

    @torch.inference_mode()
    def _measure(self, images, labels) -> tuple[float, float]:
        """(mean loss, accuracy as a fraction) over these images."""
        self.model.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        size = 100 if self.device.type == "cpu" else 1000
        for some, theirs in zip(images.split(size), labels.split(size), strict=True):
            outputs = self._forward(self.data.as_input(some, self.config.subtract_mean))
            total += _cross_entropy(outputs, theirs, reduction="sum")
            right += (outputs.argmax(-1) == theirs).sum()
        self.model.train()
        n = labels.numel()
        return total.item() / n, right.item() / n

    def record(self):
        """Add a row to the history; sets `ended` at the end, or if a loss is not finite."""
        losses = self.losses.double().cpu()
        broken = (~losses.isfinite()).nonzero()
        if len(broken):
            first = self.iteration - len(losses) + int(broken[0]) + 1
            self.ended = f"diverged at iteration {first}"
        train_loss = losses.mean().item() if len(losses) else math.nan
        lr = self.optimizer.param_groups[0]["lr"]
        tested = self.evaluate()
        self.rows.append([self.iteration, float(lr), train_loss, *tested])
        self._n_losses = 0
        if self.ended is None and self.iteration and not math.isfinite(tested[0]):
            self.ended = f"diverged at iteration {self.iteration}"
        if self.iteration == self.config.iterations and self.ended is None:
            self.ended = "finished"

    def run(
        self,
        *,
        progress: bool | None = None,
        checkpoint: Callable[[dict], None] | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> Training:
        """Train to the end; afterwards `ended` says how and `history` holds the rows.

        `progress`: whether to show a bar with rate, loss and accuracy; None shows it only in a
        terminal. `checkpoint` is called with `state_dict()` every `checkpoint_seconds` seconds,
        and at SIGINT or SIGTERM. Such a signal ends the run with KeyboardInterrupt after the
        current step; a second one ends it at once.
        """
        config, saved = self.config, time.monotonic()
        disable = None if progress is None else not progress
        bar = tqdm(total=config.iterations, initial=self.iteration, disable=disable)
        bar.set_description(f"{config.dataset} {config.policy.name} seed {config.seed}")
        with bar, noted() as signals:
            if not self.rows:
                self.record()
            while self.ended is None:
                self.step()
                bar.update()
                if self._is_tested_now():
                    self.record()
                    self._show(bar)
                due = checkpoint and time.monotonic() - saved >= checkpoint_seconds
                if checkpoint and (due or signals.came):
                    checkpoint(self.state_dict())
                    saved = time.monotonic()
                if signals.came:
                    raise KeyboardInterrupt(
                        f"stopped at iteration {self.iteration:,} of {config.iterations:,}"
                    )
        return self

    def _is_tested_now(self) -> bool:
        """Whether the history has a row at this iteration."""
        last = self.iteration == self.config.iterations
        return last or self.iteration % self.config.test_every == 0

    def _show(self, bar: tqdm):
        """The last row of the history in a progress bar."""
        _, lr, loss, _, accuracy = self.rows[-1][: len(COLUMNS)]
        bar.set_postfix(lr=f"{lr:.2g}", loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}")

    @property
    def history(self) -> pd.DataFrame:
        """The rows so far; columns iteration, lr, train_loss, test_loss, test_accuracy.

        Columns of validation are added if validation images are kept back, and columns of a
        second test if there are two kinds of running statistics.
        """
        table = pd.DataFrame(self.rows, columns=columns(self.config))
        return table.astype({"iteration": np.int64})

    def state_dict(self) -> dict:
        """All that a bit-identical continuation needs.

        `torch.load` can read it with `weights_only=True`.
        """
        return {
            "config": self.config.to_dict(),
            "fingerprint": self.data.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "batches": self.batches.state_dict(),
            "rows": self.rows,
            "ended": self.ended,
            "losses": self.losses.clone(),
        }

    def load_state_dict(self, state: dict):
        """Continue from where `state` was saved; ValueError if it is from another run.

        The data are compared by their fingerprint: the folder of images may have been moved.
        """
        try:
            config = RunConfig.from_dict(state["config"] | {"dataset": self.config.dataset})
        except TypeError:  # a newer version, with more fields, saved it
            config = None
        if (config, state["fingerprint"]) != (self.config, self.data.fingerprint):
            raise ValueError(f"the checkpoint is of another run: {state['config']}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._prepare()  # the optimizer's rates and state are new tensors now
        self.scheduler.load_state_dict(state["scheduler"])
        self.batches.load_state_dict(state["batches"])
        self.rows = [list(row) for row in state["rows"]]
        self.ended = state["ended"]
        self._losses = state["losses"].to(self.device)
        self._n_losses = len(self._losses)
