"""Learning-rate policies: small immutable objects that are functions of the iteration.

    >>> policy = Triangular(base_lr=0.001, max_lr=0.006, stepsize=2000)
    >>> policy(0), policy(2000), policy(4000)
    (0.001, 0.006, 0.001)

Call a policy with an iteration (an integer from 0 up) and it returns the
learning rate as a float; call it with an integer array and it returns a float64
array of the same shape. A policy holds no counter and no optimizer: it can be
printed, compared, hashed, drawn before it is used, and written as JSON with
`to_dict` and read back with `policy_from_dict`.

The policies are those of the papers and of Caffe, and how other implementations read them:
"CLR" is arXiv 1506.01186 (v6), "1cycle" is arXiv 1803.09820. To write a policy of your own,
define one class; see `Policy`.
"""

from __future__ import annotations

import gc
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from typing import Annotated, Any, ClassVar, TypeVar, overload
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from clr import checks

__all__ = [
    "WAVES",
    "CyclicalMomentum",
    "Decay",
    "Exp",
    "ExpRange",
    "ExpRangeAmplitude",
    "ExpRangeCycle",
    "ExponentialRangeRamp",
    "Fixed",
    "Inv",
    "OneCycle",
    "OneCycleMomentum",
    "Policy",
    "RangeRamp",
    "Stages",
    "Step",
    "Triangular",
    "Triangular2",
    "WarmupCosine",
    "WarmupLinear",
    "WarmupStableDecay",
    "a_policy",
    "a_wave",
    "hann",
    "known",
    "policy_from_dict",
    "triangle",
    "welch",
]

# --- waves ---------------------------------------------------------------------
# The three windows that the paper names (CLR 3.1), as functions of x, the distance from the
# top of the cycle: 1 at its ends, 0 at its top.

Wave = Callable[[Any], Any]  # of a number or an array
X = TypeVar("X", float, np.ndarray)


def triangle(x: X) -> X:
    """Triangular window, `1 - x`: straight up and straight down."""
    return 1.0 - x


def welch(x: X) -> X:
    """Welch window, `1 - x**2`: a parabola, most of the time near the top."""
    return 1.0 - x * x


def hann(x: X) -> X:
    """Hann window, `(1 + cos(pi x)) / 2`: smooth at the top and at the ends."""
    return 0.5 * (1.0 + np.cos(np.pi * x))


WAVES: dict[str, Wave] = {wave.__name__: wave for wave in (triangle, welch, hann)}


def a_wave(name: str, value: Any) -> Wave:
    """The check for one of the waves, which may also be given by its name."""
    wave: Any = WAVES.get(value) if isinstance(value, str) else value
    if wave not in WAVES.values():
        names = ", ".join(WAVES)
        raise ValueError(f"{name} must be one of clr.policies' {names}; got {value!r}")
    return wave


# --- what a policy is ------------------------------------------------------------


def a_policy(name: str, value: object) -> Policy:
    """The check for a policy."""
    return checks.instance(name, value, Policy, "a clr Policy")


def _between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    """Interpolate from `low` (at share 0) to `high` (at share 1); both ends are exact."""
    values = low * (1.0 - share) + high * share
    return np.clip(values, min(low, high), max(low, high))


_CLASSES: WeakValueDictionary[str, type[Policy]] = WeakValueDictionary()


@dataclass(frozen=True, repr=False)
class Policy(ABC):
    """Base of all policies. A subclass gives `name`, its fields and `_values`.

        @dataclass(frozen=True, repr=False)
        class Warm(Policy, name="warm"):
            max_lr: Annotated[float, checks.rate]
            warmup: Annotated[int, checks.whole]

            def _values(self, t):
                return self.max_lr * (t / self.warmup).clip(0, 1)

    A field is declared with the check of its values (see `clr.checks`). Raises ValueError or
    TypeError, naming the argument, its value and what is allowed, when a field is out of range.
    """

    name: ClassVar[str]  # given as in `class Warm(Policy, name="warm")`: letters, digits, _, -

    def __init_subclass__(cls, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not re.fullmatch(r"[\w-]+", name):  # it becomes a part of file names
            raise ValueError(
                f"the name of a policy must consist of letters, digits, _ and -; got {name!r}"
            )
        if _path(_CLASSES.get(name, cls)) != _path(cls):
            gc.collect()  # a class that a function has defined may still wait for it
        other = _CLASSES.setdefault(name, cls)
        if _path(other) != _path(cls):
            raise ValueError(
                f"the name of a policy must be unique; {name!r} is the name of {_path(other)} "
                f"and of {_path(cls)}"
            )
        cls.name, _CLASSES[name] = name, cls  # the newest, if it was defined again

    def __post_init__(self) -> None:
        checks.fields(self)
        for low, high in (("base_lr", "max_lr"), ("base_momentum", "max_momentum")):
            a, b = getattr(self, low, 0), getattr(self, high, np.inf)
            if a > b:
                raise ValueError(f"{low} must not be above {high}; got {low}={a}, {high}={b}")

    @property
    def end(self) -> int | None:
        """The last iteration the policy is defined for; None if it has no end.

        With `past_end="cycle"` the policy starts again there: `end` is like iteration 0.
        """
        return None

    @property
    def past_end(self) -> str:
        """What comes after `end`.

        "raise": an error; "hold": the value at the end; "cycle": the policy from its start.
        """
        return "raise"

    @abstractmethod
    def _values(self, t: np.ndarray) -> np.ndarray:
        """The values at the iterations `t`, an array of int64 of any shape."""

    @overload
    def __call__(self, iteration: int | np.integer) -> float: ...
    @overload
    def __call__(self, iteration: npt.ArrayLike) -> np.ndarray: ...
    def __call__(self, iteration: npt.ArrayLike) -> float | np.ndarray:
        """The value at `iteration`: a float for an integer, an array for an array of integers.

        Raises TypeError for anything but integers, ValueError below 0 and past
        the end of a policy that has one (see `past_end`).
        """
        t = np.asarray(iteration)
        if t.dtype.kind not in "iu":
            raise TypeError(
                "iteration must be an integer or an array of integers, below 2**63; "
                f"got {checks.shown(iteration)}"
            )
        t = t.astype(np.int64, copy=False)
        if t.size and t.min() < 0:
            raise ValueError(f"iteration must be at least 0; got {t.min()}")
        values = np.asarray(self._values(self._inside(t)), dtype=np.float64)
        if values.shape != t.shape:
            raise ValueError(
                f"_values of {type(self).__name__} must return one value per iteration, an "
                f"array of shape {t.shape}; got one of shape {values.shape}"
            )
        return float(values) if t.ndim == 0 else values

    def _inside(self, t: np.ndarray) -> np.ndarray:
        """The iterations `t`; those past the policy's end are changed as `past_end` says."""
        if self.end is None or not t.size or t.max() < self.end:
            return t
        if self.past_end == "cycle":
            return t % max(self.end, 1)
        if self.past_end == "raise" and t.max() > self.end:
            raise ValueError(
                f"iteration {t.max()} is past the end of {self.name} at {self.end} (an "
                "iteration is one call of optimizer.step()); past_end='hold' keeps the last "
                "value, past_end='cycle' starts again"
            )
        return np.minimum(t, self.end)

    def to_dict(self) -> dict:
        """The policy as plain JSON values; `policy_from_dict` is the inverse."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"policy": self.name} | {k: _plain(v) for k, v in values.items()}

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                is_wave = callable(value) and not isinstance(value, Policy)
                shown.append(f"{field.name}={value.__name__ if is_wave else value}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Policy):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.__name__ if callable(value) else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_from_plain(item) for item in value)
    return policy_from_dict(value) if isinstance(value, dict) else value


def policy_from_dict(data: dict) -> Policy:
    """The policy that `to_dict` wrote.

    Raises ValueError for an unknown policy, where the message names the known ones, and for
    anything but a dictionary; ValueError or TypeError for its fields, as the class does.
    """
    if not isinstance(data, dict):
        raise ValueError(f"a policy must be a dictionary; got {checks.shown(data)}")
    values = dict(data)
    name = checks.one_of("policy", values.pop("policy", None), known())
    return known()[name](**{k: _from_plain(v) for k, v in values.items()})


def known() -> dict[str, type[Policy]]:
    """All policy classes by name, including those defined outside this package.

    If a class was defined again (a notebook cell was executed again), the newest counts.
    """
    return dict(_CLASSES)


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


# --- the policies ----------------------------------------------------------------

_PAST_END = checks.among(("raise", "hold", "cycle"))


@dataclass(frozen=True, repr=False)
class Fixed(Policy, name="fixed"):
    """The same rate at every iteration (Caffe's "fixed")."""

    base_lr: Annotated[float, checks.rate]

    def _values(self, t: np.ndarray) -> np.ndarray:
        return np.full(t.shape, self.base_lr)


@dataclass(frozen=True, repr=False)
class Step(Policy, name="step"):
    """`base_lr`, multiplied by `gamma` at each iteration in `drops` (Caffe's "multistep").

    Caffe's CIFAR-10 baseline is `Step(0.001, drops=(60_000, 65_000))` for 70,000 iterations.
    """

    base_lr: Annotated[float, checks.rate]
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

    base_lr: Annotated[float, checks.rate]
    gamma: Annotated[float, checks.gamma]

    def _values(self, t: np.ndarray) -> np.ndarray:
        return self.base_lr * np.power(self.gamma, t)


@dataclass(frozen=True, repr=False)
class Inv(Policy, name="inv"):
    """`base_lr * (1 + gamma * t) ** -power` (Caffe's "inv", its MNIST example)."""

    base_lr: Annotated[float, checks.rate]
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

    base_lr: Annotated[float, checks.rate]
    max_lr: Annotated[float, checks.rate]
    stepsize: Annotated[int, checks.whole]
    _: KW_ONLY
    wave: Annotated[Wave, a_wave] = triangle

    def _values(self, t: np.ndarray) -> np.ndarray:
        x = np.minimum(t, self.stepsize) / self.stepsize
        return _between(self.base_lr, self.max_lr, self.wave(x))


@dataclass(frozen=True, repr=False)
class WarmupLinear(Policy, name="warmup_linear"):
    """Up from 0 to `max_lr` in `warmup` iterations, then straight down to 0 at `iterations`.

    "Linear warm-up, linear decay", as BERT was trained (arXiv 1810.04805, appendix A.2).
    """

    max_lr: Annotated[float, checks.rate]
    iterations: Annotated[int, checks.whole]
    _: KW_ONLY
    warmup: Annotated[int, checks.count] = 0
    past_end: Annotated[str, _PAST_END] = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup >= self.iterations:
            raise ValueError(
                f"warmup must be below iterations, {self.iterations}; got {self.warmup}"
            )

    @property
    def end(self) -> int:
        """The iteration at which the rate is 0."""
        return self.iterations

    @property
    def _fall(self) -> tuple[int, Wave]:
        """The length and the form of the way down."""
        return self.iterations - self.warmup, triangle

    def _values(self, t: np.ndarray) -> np.ndarray:
        length, wave = self._fall
        x = np.maximum(t - (self.iterations - length), 0) / length
        fallen = _between(0.0, self.max_lr, wave(x))
        return np.where(t < self.warmup, self.max_lr * (t / max(self.warmup, 1)), fallen)


@dataclass(frozen=True, repr=False)
class WarmupCosine(WarmupLinear, name="warmup_cosine"):
    """`WarmupLinear` that falls along a half cosine (arXiv 1608.03983, without restarts)."""

    @property
    def _fall(self) -> tuple[int, Wave]:
        return self.iterations - self.warmup, hann


@dataclass(frozen=True, repr=False)
class WarmupStableDecay(WarmupLinear, name="warmup_stable_decay"):
    """Up from 0 in `warmup` iterations, `max_lr`, and down to 0 in the last `decay` iterations.

        WarmupStableDecay(max_lr=0.1, iterations=10_000, warmup=500, decay=2_000)

    "Warmup-stable-decay", or WSD (arXiv 2404.06395, section 4). Without a warm-up, and with
    `decay` a fifth of the iterations, it is "constant, then linear" in notebook 6. `wave` is
    the form of the decay.
    """

    decay: Annotated[int, checks.whole]
    wave: Annotated[Wave, a_wave] = triangle

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup + self.decay > self.iterations:
            raise ValueError(
                f"warmup + decay must be at most iterations, {self.iterations}; got "
                f"{self.warmup} + {self.decay}"
            )

    @property
    def _fall(self) -> tuple[int, Wave]:
        return self.decay, self.wave


@dataclass(frozen=True, repr=False)
class Triangular(Policy, name="triangular"):
    """From `base_lr` up to `max_lr` and back, cycle after cycle (CLR 3.1).

    The way up takes `stepsize` iterations, the way down `stepsize_down` (by default as many).
    Cycles begin at exactly `base_lr`, and their tops are exactly `max_lr`.
    """

    base_lr: Annotated[float, checks.rate]
    max_lr: Annotated[float, checks.rate]
    stepsize: Annotated[int, checks.whole]
    _: KW_ONLY
    stepsize_down: Annotated[int | None, checks.or_none(checks.whole)] = None
    wave: Annotated[Wave, a_wave] = triangle

    @property
    def period(self) -> int:
        """Iterations in one cycle."""
        return self.stepsize + (self.stepsize_down or self.stepsize)

    def cycle(self, iteration: npt.ArrayLike) -> np.ndarray:
        """The cycle an iteration is in, counted from 0."""
        return np.asarray(iteration) // self.period

    def _share(self, t: np.ndarray) -> np.ndarray:
        """How far the rate is above its lower bound, as a share of `max_lr - base_lr`."""
        from_top = t % self.period - self.stepsize
        down = self.stepsize_down or self.stepsize
        side = np.where(from_top < 0, self.stepsize, down)
        return self.wave(np.abs(from_top) / side)

    def _values(self, t: np.ndarray) -> np.ndarray:
        return _between(self.base_lr, self.max_lr, self._share(t))


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

    def _share(self, t: np.ndarray) -> np.ndarray:
        return super()._share(t) * np.power(self.gamma, t)

    def _values(self, t: np.ndarray) -> np.ndarray:
        within = _between(self.base_lr, self.max_lr, super()._share(t))
        return np.power(self.gamma, t) * within


@dataclass(frozen=True, repr=False)
class ExpRangeAmplitude(ExpRange, name="exp_range_amplitude"):
    """exp_range as PyTorch and Keras have it: only the amplitude shrinks, by `gamma**t`."""

    _values = Triangular._values


@dataclass(frozen=True, repr=False)
class ExpRangeCycle(ExpRange, name="exp_range_cycle"):
    """exp_range as some articles have it: the amplitude shrinks by `gamma**cycle`."""

    _values = Triangular._values

    def _share(self, t: np.ndarray) -> np.ndarray:
        return Triangular._share(self, t) * np.power(self.gamma, t // self.period)


def _cyclical(name: str, value: object) -> Triangular:
    allowed = "a cyclical policy (Triangular, Triangular2 or an exp_range)"
    return checks.instance(name, a_policy(name, value), Triangular, allowed)


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
        return _between(self.max_momentum, self.base_momentum, self.lr_policy._share(t))


@dataclass(frozen=True, repr=False)
class OneCycle(Policy, name="one_cycle"):
    """1cycle as its author ran it (1803.09820, read from his logs).

    The rate rises from `base_lr` to `max_lr` in `stepsize` iterations and falls towards 0 in
    the next `stepsize` iterations. From iteration `2 * stepsize` on, where it would be 0, it is
    `base_lr / 1000`.
    """

    base_lr: Annotated[float, checks.rate]
    max_lr: Annotated[float, checks.rate]
    stepsize: Annotated[int, checks.whole]

    def _values(self, t: np.ndarray) -> np.ndarray:
        up = _between(self.base_lr, self.max_lr, np.minimum(t / self.stepsize, 1.0))
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
        return _between(self.max_momentum, self.base_momentum, share)


@dataclass(frozen=True, repr=False)
class RangeRamp(Policy, name="range_ramp"):
    """The LR range test's ramp: `base_lr` at 0, `max_lr` at `iterations` (CLR 3.3).

    A ramp of 0 iterations, such as no warm-up, is `max_lr`.
    """

    base_lr: Annotated[float, checks.rate]
    max_lr: Annotated[float, checks.rate]
    iterations: Annotated[int, checks.count]
    _: KW_ONLY
    past_end: Annotated[str, _PAST_END] = "raise"

    @property
    def end(self) -> int:
        """The last iteration of the ramp."""
        return self.iterations

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_lr == self.max_lr:
            raise ValueError(f"base_lr must be below max_lr; both are {self.max_lr}")

    def _share(self, t: np.ndarray) -> np.ndarray:
        return t / self.iterations if self.iterations else np.ones(t.shape)

    def _values(self, t: np.ndarray) -> np.ndarray:
        return _between(self.base_lr, self.max_lr, self._share(t))


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
        share = self._share(t)
        return self.base_lr ** (1.0 - share) * self.max_lr**share


def _stages(name: str, value: Any) -> tuple[tuple[Policy, int], ...]:
    pairs = tuple(
        (a_policy(f"the policy in {name}", policy), checks.count(f"the length in {name}", n))
        for policy, n in value
    )
    if not any(n for _, n in pairs):
        raise ValueError(
            f"{name} must be (policy, iterations) pairs, at least one of them at least 1 long; "
            f"got {value!r}"
        )
    return pairs


@dataclass(frozen=True, repr=False)
class Stages(Policy, name="stages"):
    """Policies one after another, each with a counter of its own (Caffe's
    `start_lr_policy`).

    `stages` holds (policy, iterations) pairs; one of 0 iterations, such as no warm-up, is
    passed over. At the iteration `end` the last policy goes on
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
            policy(n if goes_on else max(n - 1, 0))  # raises if the policy ends before that

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
