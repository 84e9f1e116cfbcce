"""What a learning-rate policy is: a frozen value, a pure function of the iteration.

The policies themselves are in `clr.policies`; this is what they have in common.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

import numpy as np

from clr import checks

POLICIES: dict[str, type[Policy]] = {}  # by name, filled as the classes are defined
WAVES: dict[str, object] = {}  # by name, filled by clr.policies


def between(low, high, share):
    """`low` where share is 0, `high` where it is 1, both to the last bit."""
    values = low * (1.0 - share) + high * share
    return np.clip(values, min(low, high), max(low, high))


def _wave(name, value):
    if value not in WAVES.values():
        known = ", ".join(WAVES)
        raise ValueError(f"{name} must be one of clr.policies' {known}; got {value!r}")
    return value


def _stages(name, value):
    try:
        pairs = tuple((policy, checks.whole("a stage's length", n)) for policy, n in value)
        if not pairs or not all(isinstance(policy, Policy) for policy, _ in pairs):
            raise TypeError(f"got {value!r}")
        for i, (policy, n) in enumerate(pairs, 1):
            policy(n if i == len(pairs) else n - 1)  # raises if the policy ends before that
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must be (policy, iterations) pairs: {error}") from None
    return pairs


_ALLOWED = {  # what a policy's fields may hold, by their name
    "base_lr": checks.rate,
    "max_lr": checks.rate,
    "base_momentum": checks.momentum,
    "max_momentum": checks.momentum,
    "gamma": checks.gamma,
    "power": checks.rate,
    "stepsize": checks.whole,
    "stepsize_down": checks.whole_or_none,
    "iterations": checks.whole,
    "drops": checks.rising,
    "wave": _wave,
    "past_end": lambda name, value: checks.one_of(name, value, ("raise", "hold", "cycle")),
    "stages": _stages,
}


@dataclass(frozen=True, repr=False)
class Policy:
    """Base of all policies. A subclass gives `name`, its fields and `_values`.

    Raises ValueError or TypeError, naming the argument, its value and what is
    allowed, when a field is out of range.
    """

    def __init_subclass__(cls, name: str, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.name = name
        POLICIES[name] = cls

    def __post_init__(self):
        for field in fields(self):
            if check := _ALLOWED.get(field.name):
                value = check(field.name, getattr(self, field.name))
                object.__setattr__(self, field.name, value)
        for low, high in (("base_lr", "max_lr"), ("base_momentum", "max_momentum")):
            self._in_order(low, high)

    def _in_order(self, low, high):
        a, b = getattr(self, low, 0), getattr(self, high, np.inf)
        if a > b:
            raise ValueError(f"{low} must not be above {high}; got {low}={a}, {high}={b}")

    @property
    def end(self) -> int | None:
        """The last iteration the policy is defined for; None if it has no end.

        With `past_end="cycle"` it starts again there, as if it were iteration 0.
        """
        return None

    def __call__(self, iteration):
        """The value at `iteration`, an integer (float back) or an array of them.

        Raises TypeError for anything but integers, ValueError below 0 and past
        the end of a policy that has one (see `past_end`).
        """
        t = np.asarray(iteration)
        if t.dtype.kind not in "iu":
            raise TypeError(
                f"iteration must be an integer or an array of integers; got {iteration!r}"
            )
        if t.size and t.min() < 0:
            raise ValueError(f"iteration must be at least 0; got {t.min()}")
        t = self._inside(t.astype(np.int64, copy=False))
        values = np.asarray(self._values(t), dtype=np.float64)
        return float(values) if t.ndim == 0 else values

    def _inside(self, t):
        """Iterations past the end of a policy that has one, as `past_end` says."""
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

    def __repr__(self):
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                text = value.__name__ if callable(value) and field.name == "wave" else value
                shown.append(f"{field.name}={text!s}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _plain(value):
    if isinstance(value, Policy):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.__name__ if callable(value) else value


def policy_from_dict(data: dict) -> Policy:
    """The policy that `to_dict` wrote.

    Raises ValueError naming an unknown policy, wave or field and the known ones.
    """
    values = dict(data)
    name = values.pop("policy", None)
    if name not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}; got {name!r}")
    known = [field.name for field in fields(POLICIES[name])]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{name} has no {unknown}; its fields are {', '.join(known)}")
    if "wave" in values:
        values["wave"] = WAVES.get(values["wave"], values["wave"])
    if "stages" in values:
        values["stages"] = tuple((policy_from_dict(p), n) for p, n in values["stages"])
    return POLICIES[name](**values)
