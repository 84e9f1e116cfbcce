"""The base class of learning-rate policies: immutable functions of the iteration.

The policies themselves are in `clr.policies.kinds`; this module holds what they share.
"""

from __future__ import annotations

import gc
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, overload

import numpy as np
import numpy.typing as npt

from clr import checks
from clr.policies.waves import WAVES, a_wave
from clr.policies.words import NamesOurArguments

_LAST = 2**63 - 1  # the last iteration that an int64 holds


def _are_integers(t: np.ndarray) -> bool:
    """Whether an array holds integers; numpy stores those beyond 64 bits as objects."""
    if t.dtype.kind == "O":
        return t.size > 0 and all(isinstance(each, int) for each in t.flat)
    return t.dtype.kind in "iu"


def between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    """Interpolate from `low` (at share 0) to `high` (at share 1); both ends are exact."""
    values = low * (1.0 - share) + high * share
    return np.clip(values, min(low, high), max(low, high))


def a_policy(name: str, value: object) -> Policy:
    """The check for a policy."""
    if isinstance(value, type) and issubclass(value, Policy):
        given = ", ".join(f"{f.name}=..." for f in fields(value) if f.default is MISSING)
        raise TypeError(
            f"{name} must be a clr Policy; got the class {value.__name__}, call it: "
            f"{value.__name__}({given})"
        )
    if not isinstance(value, Policy):
        raise TypeError(f"{name} must be a clr Policy; got {checks.shown(value)}")
    return value


def a_policy_or_none(name: str, value: object) -> Policy | None:
    """The check for a policy or None."""
    return None if value is None else a_policy(name, value)


def a_rate(name: str, value: object) -> float:
    """The check for a learning rate: one number, not one per parameter group."""
    if isinstance(value, (list, tuple)):
        raise TypeError(
            f"{name} must be a number; got {checks.shown(value)} (for a policy per parameter "
            "group give PolicyLR a list of policies)"
        )
    return checks.rate(name, value)


@dataclass(frozen=True, repr=False)
class Policy(NamesOurArguments, ABC):
    """Base of all policies. A subclass gives `name`, its fields and `_values`.

    A field is declared with the check of its values, `stepsize: Annotated[int, checks.whole]`
    (see `clr.checks`). Raises ValueError or TypeError, naming the argument, its value and what
    is allowed, when a field is out of range.
    """

    name: ClassVar[str]  # given as in `class Warm(Policy, name="warm")`: letters, digits, _, -

    def __init_subclass__(cls, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not re.fullmatch(r"[\w-]+", name):  # it becomes a part of file names
            raise ValueError(
                f"the name of a policy must consist of letters, digits, _ and -; got {name!r}"
            )
        # a class that a function has defined may still wait for the garbage collector
        if _taken(name, cls):
            gc.collect()
        if _taken(name, cls):
            raise ValueError(
                f"the name of a policy must be unique; {name!r} is the name of "
                f"{_path(known()[name])} and of {_path(cls)}"
            )
        cls.name = name

    def __post_init__(self) -> None:
        checks.fields(self)
        for low, high in (("base_lr", "max_lr"), ("base_momentum", "max_momentum")):
            self._in_order(low, high)

    def _in_order(self, low: str, high: str) -> None:
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
        if not _are_integers(t):
            raise TypeError(
                "iteration must be an integer or an array of integers; "
                f"got {checks.shown(iteration)}"
            )
        if t.size and t.min() < 0:
            raise ValueError(f"iteration must be at least 0; got {checks.shown(int(t.min()))}")
        if t.size and t.max() > _LAST:
            raise ValueError(
                f"iteration must be at most {_LAST}; got {checks.shown(int(t.max()))}"
            )
        t = self._inside(t.astype(np.int64, copy=False))
        values = np.asarray(self._values(t), dtype=np.float64)
        return float(values) if t.ndim == 0 else values

    def _inside(self, t: np.ndarray) -> np.ndarray:
        """The iterations `t`; those past the policy's end are changed as `past_end` says."""
        if self.end is None or not t.size or t.max() < self.end:
            return t
        if self.past_end == "cycle":
            return t % self.end
        if self.past_end == "raise" and t.max() > self.end:
            raise ValueError(
                f"iteration {t.max()} is past the end of {self.name} at {self.end}; "
                "past_end='hold' keeps the last value, past_end='cycle' starts again"
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
                is_function = callable(value) and not isinstance(value, Policy)
                shown.append(f"{field.name}={value.__name__ if is_function else value}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Policy):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.__name__ if callable(value) else value


def known() -> dict[str, type[Policy]]:
    """All policy classes by name, including those defined outside this package.

    If a class was defined again (a notebook cell was executed again), the newest counts.
    """
    found: dict[str, type[Policy]] = {}
    left = Policy.__subclasses__()
    while left:
        cls = left.pop(0)
        left = cls.__subclasses__() + left
        if "name" in vars(cls):  # else its definition is not done, or was refused
            found[cls.name] = cls
    return found


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _taken(name: str, cls: type[Policy]) -> bool:
    """Whether a class other than an earlier definition of `cls` has that name."""
    other = known().get(name)
    return other is not None and _path(other) != _path(cls)


def policy_from_dict(data: dict) -> Policy:
    """The policy that `to_dict` wrote.

    Raises ValueError for an unknown policy, wave or field, where the message names the known
    ones, for a field that is missing, and for anything but a dictionary.
    """
    if not isinstance(data, dict):
        raise ValueError(f"a policy must be a dictionary; got {checks.shown(data)}")
    values, policies = dict(data), known()
    cls = policies.get(name := values.pop("policy", None))
    if cls is None:
        raise ValueError(f"policy must be one of {', '.join(policies)}; got {name!r}")
    names = [field.name for field in fields(cls)]
    if unknown := sorted(set(values) - set(names)):
        raise ValueError(f"{name} has no {unknown}; its fields are {', '.join(names)}")
    needed = [field.name for field in fields(cls) if field.default is MISSING]
    if missing := [each for each in needed if each not in values]:
        raise ValueError(f"{name} needs {', '.join(missing)}; got {checks.shown(data)}")
    declared = checks.declared(cls)
    return cls(**{k: _from_plain(v, declared[k]) for k, v in values.items()})


def _from_plain(value: Any, check: Callable | None = None) -> Any:
    """The inverse of `_plain`; a string is a wave's name if `a_wave` checks the field."""
    if isinstance(value, dict):
        return policy_from_dict(value)
    if isinstance(value, (list, tuple)):
        return tuple(_from_plain(item) for item in value)
    return WAVES.get(value, value) if check is a_wave and isinstance(value, str) else value
