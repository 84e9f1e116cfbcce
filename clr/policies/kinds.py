"""The policies of the papers and of Caffe, and how other implementations read them.

"CLR" is arXiv 1506.01186 (v6), "1cycle" is arXiv 1803.09820.
"""

from __future__ import annotations

import itertools
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, overload

import numpy as np
import numpy.typing as npt

from clr import checks
from clr.policies.base import Policy, a_policy, a_rate, between
from clr.policies.waves import Wave, a_wave, triangle

_PAST_END = checks.among(("raise", "hold", "cycle"))


@dataclass(frozen=True, repr=False)
class Fixed(Policy, name="fixed"):
    """The same rate at every iteration (Caffe's "fixed")."""

    base_lr: Annotated[float, a_rate]

    def _values(self, t: np.ndarray) -> np.ndarray:
        return np.full(t.shape, self.base_lr)


@dataclass(frozen=True, repr=False)
class Step(Policy, name="step"):
    """`base_lr`, multiplied by `gamma` at each iteration in `drops` (Caffe's "multistep").

    Caffe's CIFAR-10 baseline is `Step(0.001, drops=(60_000, 65_000))` for 70,000 iterations.
    """

    base_lr: Annotated[float, a_rate]
    drops: Annotated[tuple[int, ...], checks.rising]
    gamma: Annotated[float, checks.gamma] = 0.1

    def _values(self, t: np.ndarray) -> np.ndarray:
        # Dividing by (1/gamma)**k gives 0.0001 and 0.00001 where multiplying by
        # 0.1**k gives 1.0000000000000003e-05.
        passed = np.searchsorted(self.drops, t, side="right")
        return self.base_lr / (1.0 / self.gamma) ** passed


@dataclass(frozen=True, repr=False)
class Exp(Policy, name="exp"):
    """`base_lr * gamma**t` (Caffe's "exp"; CLR 4.1.1)."""

    base_lr: Annotated[float, a_rate]
    gamma: Annotated[float, checks.gamma]

    def _values(self, t: np.ndarray) -> np.ndarray:
        return self.base_lr * np.power(self.gamma, t)


@dataclass(frozen=True, repr=False)
class Inv(Policy, name="inv"):
    """`base_lr * (1 + gamma * t) ** -power` (Caffe's "inv", its MNIST example)."""

    base_lr: Annotated[float, a_rate]
    gamma: Annotated[float, checks.gamma]
    power: Annotated[float, checks.rate]

    def _values(self, t: np.ndarray) -> np.ndarray:
        return self.base_lr * (1.0 + self.gamma * t) ** -self.power


@dataclass(frozen=True, repr=False)
class Decay(Policy, name="decay"):
    """From `max_lr` down to `base_lr` in `stepsize` iterations, then `base_lr`.

    The paper's control (CLR 4.1.1): only the falling half of a cycle. With
    `wave=hann` it falls along a half cosine.
    """

    base_lr: Annotated[float, a_rate]
    max_lr: Annotated[float, a_rate]
    stepsize: Annotated[int, checks.whole]
    _: KW_ONLY
    wave: Annotated[Wave, a_wave] = triangle

    def _values(self, t: np.ndarray) -> np.ndarray:
        x = np.minimum(t, self.stepsize) / self.stepsize
        return between(self.base_lr, self.max_lr, self.wave(x))


@dataclass(frozen=True, repr=False)
class Triangular(Policy, name="triangular"):
    """From `base_lr` up to `max_lr` and back, cycle after cycle (CLR 3.1).

    The way up takes `stepsize` iterations, the way down `stepsize_down` (by default as many).
    Cycles begin at exactly `base_lr`, and their tops are exactly `max_lr`.
    """

    base_lr: Annotated[float, a_rate]
    max_lr: Annotated[float, a_rate]
    stepsize: Annotated[int, checks.whole]
    _: KW_ONLY
    stepsize_down: Annotated[int | None, checks.whole_or_none] = None
    wave: Annotated[Wave, a_wave] = triangle

    @property
    def period(self) -> int:
        """Iterations in one cycle."""
        return self.stepsize + (self.stepsize_down or self.stepsize)

    @overload
    def cycle(self, iteration: int | np.integer) -> int: ...
    @overload
    def cycle(self, iteration: npt.ArrayLike) -> np.ndarray: ...
    def cycle(self, iteration: npt.ArrayLike) -> int | np.ndarray:
        """The cycle an iteration is in, counted from 0."""
        cycle = np.asarray(iteration) // self.period
        return int(cycle) if np.ndim(cycle) == 0 else cycle

    def _share(self, t: np.ndarray) -> np.ndarray:
        """The window's value: 0 at a cycle's ends, 1 at its top."""
        from_top = t % self.period - self.stepsize
        down = self.stepsize_down or self.stepsize
        side = np.where(from_top < 0, self.stepsize, down)
        return self.wave(np.abs(from_top) / side)

    def _swing(self, t: np.ndarray) -> np.ndarray:
        """How far the rate is above its lower bound, as a share of `max_lr - base_lr`."""
        return self._share(t)

    def _values(self, t: np.ndarray) -> np.ndarray:
        return between(self.base_lr, self.max_lr, self._swing(t))


@dataclass(frozen=True, repr=False)
class Triangular2(Triangular, name="triangular2"):
    """`Triangular` whose amplitude is halved at the end of each cycle (CLR 3.1)."""

    def _share(self, t: np.ndarray) -> np.ndarray:
        halvings = np.minimum(t // self.period, 2000)  # 2**-2000 is 0 already
        return np.ldexp(super()._share(t), -halvings.astype(np.intc))


@dataclass(frozen=True, repr=False)
class ExpRange(Triangular, name="exp_range"):
    """`Triangular` with both bounds shrinking by `gamma**t` (CLR 3.1).

    The paper: "each boundary value declines by an exponential factor". The two other
    common readings are the classes below.
    """

    gamma: Annotated[float, checks.gamma]

    def _swing(self, t: np.ndarray) -> np.ndarray:
        return self._share(t) * np.power(self.gamma, t)

    def _values(self, t: np.ndarray) -> np.ndarray:
        within = between(self.base_lr, self.max_lr, self._share(t))
        return np.power(self.gamma, t) * within


@dataclass(frozen=True, repr=False)
class ExpRangeAmplitude(ExpRange, name="exp_range_amplitude"):
    """exp_range as PyTorch and Keras have it: only the amplitude shrinks, by `gamma**t`."""

    def _values(self, t: np.ndarray) -> np.ndarray:
        return between(self.base_lr, self.max_lr, self._swing(t))


@dataclass(frozen=True, repr=False)
class ExpRangeCycle(ExpRange, name="exp_range_cycle"):
    """exp_range as some articles have it: the amplitude shrinks by `gamma**cycle`."""

    def _swing(self, t: np.ndarray) -> np.ndarray:
        return self._share(t) * np.power(self.gamma, t // self.period)

    def _values(self, t: np.ndarray) -> np.ndarray:
        return between(self.base_lr, self.max_lr, self._swing(t))


def _cyclical(name: str, value: object) -> Triangular:
    policy = a_policy(name, value)
    if not isinstance(policy, Triangular):
        raise TypeError(
            f"{name} must be a cyclical policy (Triangular, Triangular2 or an exp_range); "
            f"got {checks.shown(policy)}"
        )
    return policy


@dataclass(frozen=True, repr=False)
class CyclicalMomentum(Policy, name="cyclical_momentum"):
    """The momentum that goes with a cyclical policy of the rate: high where the rate is low.

        rate = ExpRangeAmplitude(0.001, 0.006, stepsize=2000, gamma=0.9999)
        PolicyLR(sgd, rate, momentum=CyclicalMomentum(0.8, 0.9, rate))

    It falls from `max_momentum` to `base_momentum` while the rate of `lr_policy` rises, and
    then rises again. Where the policy makes the rate's amplitude smaller, the momentum's
    amplitude becomes smaller by the same factor. That the momentum moves in the opposite
    direction of the rate is from 1803.09820, "Cyclical momentum". For Triangular,
    Triangular2 and ExpRangeAmplitude the values are those of PyTorch's `CyclicLR` with
    `cycle_momentum=True`.
    """

    base_momentum: Annotated[float, checks.momentum]
    max_momentum: Annotated[float, checks.momentum]
    lr_policy: Annotated[Triangular, _cyclical]

    def _values(self, t: np.ndarray) -> np.ndarray:
        return between(self.max_momentum, self.base_momentum, self.lr_policy._swing(t))


@dataclass(frozen=True, repr=False)
class OneCycle(Policy, name="one_cycle"):
    """1cycle as its author ran it (1803.09820, read from his logs).

    The rate rises from `base_lr` to `max_lr` in `stepsize` iterations and falls towards 0 in
    the next `stepsize` iterations. From iteration `2 * stepsize` on, where it would be 0, it is
    `base_lr / 1000`.
    """

    base_lr: Annotated[float, a_rate]
    max_lr: Annotated[float, a_rate]
    stepsize: Annotated[int, checks.whole]

    def _values(self, t: np.ndarray) -> np.ndarray:
        up = between(self.base_lr, self.max_lr, np.minimum(t / self.stepsize, 1.0))
        down = self.max_lr * (2 * self.stepsize - t) / self.stepsize
        after = self.base_lr / 1000
        return np.where(t <= self.stepsize, up, np.where(t < 2 * self.stepsize, down, after))


@dataclass(frozen=True, repr=False)
class OneCycleMomentum(Policy, name="one_cycle_momentum"):
    """The momentum that goes with `OneCycle`: high where the rate is low.

    It falls from `max_momentum` to `base_momentum` in `stepsize` iterations and rises again;
    each further cycle has half the amplitude (1803.09820 appendix A.2, and the logs).
    """

    base_momentum: Annotated[float, checks.momentum]
    max_momentum: Annotated[float, checks.momentum]
    stepsize: Annotated[int, checks.whole]

    def _values(self, t: np.ndarray) -> np.ndarray:
        share = Triangular2(0.0, 1.0, self.stepsize)(t)
        return between(self.max_momentum, self.base_momentum, share)


@dataclass(frozen=True, repr=False)
class RangeRamp(Policy, name="range_ramp"):
    """The LR range test's ramp: `base_lr` at 0, `max_lr` at `iterations` (CLR 3.3)."""

    base_lr: Annotated[float, a_rate]
    max_lr: Annotated[float, a_rate]
    iterations: Annotated[int, checks.whole]
    _: KW_ONLY
    past_end: Annotated[str, _PAST_END] = "raise"

    @property
    def end(self) -> int:
        """The last iteration of the ramp."""
        return self.iterations

    def _in_order(self, low: str, high: str) -> None:
        super()._in_order(low, high)
        if low == "base_lr" and self.base_lr == self.max_lr:
            raise ValueError(f"base_lr must be below max_lr; both are {self.max_lr}")

    def _values(self, t: np.ndarray) -> np.ndarray:
        return between(self.base_lr, self.max_lr, t / self.iterations)


@dataclass(frozen=True, repr=False)
class ExponentialRangeRamp(RangeRamp, name="range_ramp_exponential"):
    """`RangeRamp` that grows by the same factor at each iteration; it cannot start at 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_lr == 0:
            raise ValueError(
                "base_lr must be above 0 in an exponential ramp; got 0.0 "
                "(RangeRamp, the linear one, can start at 0)"
            )

    def _values(self, t: np.ndarray) -> np.ndarray:
        share = t / self.iterations
        return self.base_lr ** (1.0 - share) * self.max_lr**share


def _stages(name: str, value: Any) -> tuple[tuple[Policy, int], ...]:
    try:
        pairs = tuple(
            (a_policy("a stage's policy", policy), checks.whole("a stage's length", n))
            for policy, n in value
        )
        if not pairs:
            raise ValueError(f"got {value!r}")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must be (policy, iterations) pairs: {error}") from None
    return pairs


@dataclass(frozen=True, repr=False)
class Stages(Policy, name="stages"):
    """Policies one after another, each with a counter of its own (Caffe's
    `start_lr_policy`).

    `stages` holds (policy, iterations) pairs. At the iteration `end` the last policy goes on
    for one more iteration, unless `past_end` is "cycle": then the first stage starts again.
    `past_end` also says what comes after `end`.
    """

    stages: Annotated[tuple[tuple[Policy, int], ...], _stages]
    _: KW_ONLY
    past_end: Annotated[str, _PAST_END] = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        for i, (policy, n) in enumerate(self.stages, 1):
            goes_on = i == len(self.stages) and self.past_end != "cycle"
            try:
                policy(n if goes_on else n - 1)  # raises if the policy ends before that
            except ValueError as error:
                said = f"stages must be (policy, iterations) pairs: {error}"
                raise ValueError(said) from None

    @property
    def end(self) -> int:
        """The sum of the stages' lengths."""
        return sum(iterations for _, iterations in self.stages)

    def _values(self, t: np.ndarray) -> np.ndarray:
        starts = [0, *itertools.accumulate(n for _, n in self.stages)][:-1]
        which = np.searchsorted(starts, t, side="right") - 1
        values = np.empty(t.shape)
        for i, (policy, _) in enumerate(self.stages):
            here = which == i
            values[here] = policy(t[here] - starts[i])
        return values
