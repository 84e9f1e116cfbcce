"""`RunConfig`: everything that decides the result of a run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated

from clr import checks
from clr.policies import Policy, a_policy, policy_from_dict
from clr.training import models, optim
from clr.training.data import Source

PRECISIONS = ("float32", "bfloat16")
MOST_ITERATIONS = 10**7
MOST_ROWS = 50_000  # of a history, so that its record stays small


def _iterations(name, value) -> int:
    return checks.whole(name, value, high=MOST_ITERATIONS)


def _dataset(name, value) -> str:
    Source.parse(value)
    return value


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result, and nothing else.

    It holds no device and no number of threads. `dataset` is a name that
    `Source.parse` knows; records leave out the path of an image folder. `test_every`
    is in iterations. A run has at most `MOST_ITERATIONS` iterations, and its history at most
    `MOST_ROWS` rows. `weight_decay` and the rate are multiplied by the
    model's own multipliers. `optimizer` is one of `optim.NAMES`, Caffe's solvers. With
    `train_images=n` only the first n training images are trained on. With `validation_images=n`
    the last n training images are not trained on; the history has the accuracy on them, by
    which a rate can be chosen. The mean image that is subtracted is that of all training
    images, also of those not trained on. With `second_bn_fraction`, batch normalisation keeps a
    second set of running statistics with that moving average, which does not influence the
    training, and the history has the tests with it, too. With `clip_grad_norm`, gradients whose
    norm is larger are scaled to that norm. Raises ValueError or TypeError, naming
    the argument, when a value is not allowed.
    """

    policy: Annotated[Policy, a_policy]
    iterations: Annotated[int, _iterations]
    dataset: Annotated[str, _dataset] = "digits"
    model: Annotated[str, checks.among(models.NAMES)] = "cifar10_full"
    seed: Annotated[int, checks.count] = 0
    batch_size: Annotated[int, checks.whole] = 100
    optimizer: Annotated[str, checks.among(optim.NAMES)] = "sgd"
    momentum: Annotated[float, checks.momentum] = 0.9
    momentum_policy: Annotated[Policy | None, checks.or_none(a_policy)] = None
    weight_decay: Annotated[float, checks.rate] = 0.004
    shuffle: Annotated[bool, checks.flag] = True
    flip: Annotated[bool, checks.flag] = False
    subtract_mean: Annotated[bool, checks.flag] = True
    bn_fraction: Annotated[float, checks.momentum] = 0.9
    ghost_batch: Annotated[int | None, checks.or_none(checks.whole)] = None
    precision: Annotated[str, checks.among(PRECISIONS)] = "float32"
    train_images: Annotated[int | None, checks.or_none(checks.whole)] = None
    test_every: Annotated[int, checks.whole] = 500
    validation_images: Annotated[int, checks.count] = 0
    second_bn_fraction: Annotated[float | None, checks.or_none(checks.momentum)] = None
    clip_grad_norm: Annotated[float | None, checks.or_none(checks.rate)] = None

    def __post_init__(self):
        checks.fields(self)
        if self.iterations > MOST_ROWS * self.test_every:
            least = -(-self.iterations // MOST_ROWS)
            raise ValueError(
                f"test_every must be at least {least} for {self.iterations:,} iterations: a "
                f"history has at most {MOST_ROWS:,} rows; got {self.test_every}"
            )
        self.policy(self.iterations)  # raises now if the policy ends before the run
        if self.momentum_policy is not None:
            optim.check_momentum_policy(self.optimizer, self.momentum_policy, self.iterations)
        if self.batch_size % (self.ghost_batch or 1):
            whole = f"ghost_batch must divide batch_size, {self.batch_size}"
            raise ValueError(f"{whole}; got {self.ghost_batch}")
        if self.second_bn_fraction is not None and self.model not in models.WITH_BN:
            raise ValueError(
                f"second_bn_fraction must be None for {self.model}, which has no batch "
                f"normalisation; got {self.second_bn_fraction}"
            )
        of_text = self.source.kind == "text"
        if of_text != (self.model in models.OF_TEXT):
            allowed = models.OF_TEXT if of_text else [*models.OF_IMAGES]
            raise ValueError(
                f"model must be one of {', '.join(allowed)} for the data set {self.dataset}; "
                f"got {self.model}"
            )
        if of_text and (self.subtract_mean or self.flip):
            raise ValueError(
                "subtract_mean and flip are for images, and must be False for text; got "
                f"{self.subtract_mean} and {self.flip}"
            )

    @cached_property
    def source(self) -> Source:
        """The data set's parsed name."""
        return Source.parse(self.dataset)

    def to_dict(self) -> dict:
        """Plain JSON values; `RunConfig.from_dict` is the inverse."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {k: v.to_dict() if isinstance(v, Policy) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict) -> RunConfig:
        """The config that `to_dict` wrote.

        A config that was saved when there was still the field `crop` has 0 there.
        """
        values = dict(values)
        if values.get("crop") == 0:
            del values["crop"]
        for name in ("policy", "momentum_policy"):
            if values.get(name) is not None:
                values[name] = policy_from_dict(values[name])
        return cls(**values)


# what a config that was saved before a field existed is taken to have in it
DEFAULTS = {field.name: field.default for field in fields(RunConfig)}
