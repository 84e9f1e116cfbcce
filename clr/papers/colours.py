"""One colour per kind of schedule in the whole project, each for a light and a dark ground.

Schedules that the project compares can be told apart by readers with red-green colour blindness
and in grey print (`tests/papers/test_colours.py` measures it). Each colour has a contrast of at
least 3 with its ground, as lines and bars need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from clr.policies import Decay, Fixed, Policy, Stages, Triangular, hann

GROUND = "#ffffff", "#16191d"  # light, dark
# by the kind of schedule (see `kind`): on a light ground, on a dark ground
COLOURS: dict[str, tuple[str, str]] = {
    "fixed": ("#313339", "#a8b0b9"),
    "step": ("#693200", "#eab483"),
    "exp": ("#685505", "#e0d680"),
    "inv": ("#556445", "#cae8bd"),
    "decay": ("#d96a0d", "#d9600f"),
    "cosine": ("#bc2948", "#fe6181"),
    "hold_and_fall": ("#97146d", "#bf5792"),
    "triangular": ("#3180e1", "#3caaff"),
    "triangular2": ("#552eae", "#865aef"),
    "exp_range": ("#42a46d", "#2e9f64"),
    "exp_range_amplitude": ("#1a8381", "#84ebe6"),
    "exp_range_cycle": ("#4e7504", "#92c64f"),
    "one_cycle": ("#670473", "#b63ebc"),
    "range_ramp": ("#017a9c", "#65d6f8"),
}
OTHER = "#6b7280", "#9aa3ad"  # a kind without a colour of its own, such as a reader's policy
DASHES = "-", "--", ":", "-."  # of matplotlib
_SAME = {  # policies that look like another kind
    "warmup_linear": "decay",
    "warmup_cosine": "cosine",
    "warmup_stable_decay": "hold_and_fall",
    "cyclical_momentum": "triangular",
    "one_cycle_momentum": "one_cycle",
    "range_ramp_exponential": "range_ramp",
}


def kind(policy: Policy) -> str:
    """The kind of schedule that a policy is: a key of `COLOURS`, or else the policy's name.

    A fall along a half cosine is a "cosine". Stages are what their last stage is, but "fixed"
    and then "decay" is "hold_and_fall". A rise that is shorter than the fall is a warm-up.
    """
    if isinstance(policy, Stages):
        stages = [each for each, _ in policy.stages]
        falls = isinstance(stages[-1], Decay)
        if falls and any(isinstance(each, Fixed) for each in stages):
            return "hold_and_fall"
        return kind(stages[-1])
    if isinstance(policy, Decay) and policy.wave is hann:
        return "cosine"
    if type(policy) is Triangular and (policy.stepsize_down or 0) > policy.stepsize:
        return "decay"
    return _SAME.get(policy.name, policy.name)


def colour(schedule: Policy | str, *, dark: bool = False) -> str:
    """The colour of a policy, or of a kind of schedule, as '#rrggbb'."""
    name = kind(schedule) if isinstance(schedule, Policy) else schedule
    return COLOURS.get(name, OTHER)[dark]


def styles(policies: Mapping[str, Policy]) -> dict[str, dict]:
    """The colour and line style of each policy, by label, as matplotlib takes them.

    The first of a kind has a full line; others of the same kind have dashes or dots.
    """
    found: dict[str, dict] = {}
    used: Counter[str] = Counter()
    for label, policy in policies.items():
        dashes = DASHES[used[kind(policy)] % len(DASHES)]
        found[label] = {"color": colour(policy), "linestyle": dashes}
        used[kind(policy)] += 1
    return found


def css(schedule: Policy | str) -> str:
    """The same for a page: both colours, of which the browser takes the one that fits."""
    return f"light-dark({colour(schedule)}, {colour(schedule, dark=True)})"
