"""The policy explorer: curves of a policy whose kind, wave and numbers the reader chooses."""

from __future__ import annotations

from dataclasses import fields

from clr import checks, policies
from clr.papers import colours, figures, icons
from clr.papers.widgets.fragment import part, still
from clr.policies import WAVES, Policy

READINGS: dict[type[Policy], str] = {
    policies.ExpRange: "both bounds (the paper)",
    policies.ExpRangeAmplitude: "swing only (PyTorch, Keras)",
    policies.ExpRangeCycle: "swing, per cycle (articles)",
}
KINDS: dict[str, tuple[type[Policy], ...]] = {
    "triangular": (policies.Triangular,),
    "triangular2": (policies.Triangular2,),
    "exp_range": tuple(READINGS),
    "one_cycle": (policies.OneCycle,),
    "decay": (policies.Decay,),
    "exp": (policies.Exp,),
    "fixed": (policies.Fixed,),
}
_NUMBERS = "base_lr", "max_lr", "stepsize", "gamma"


def fields_of(policy: type[Policy]) -> list[str]:
    """The fields of a policy that the reader can change."""
    names = [field.name for field in fields(policy)]
    return [name for name in (*_NUMBERS, "wave") if name in names]


def policy_explorer(
    base_lr: float = 0.001,
    max_lr: float = 0.006,
    stepsize: int = 2000,
    gamma: float = 0.99994,
    *,
    iterations: int = 20_000,
    kind: str = "triangular",
) -> str:
    """A widget that draws the policy that the reader chooses, over the one before.

    The arguments are what it shows first; `kind` is one of `KINDS`. The three readings of
    exp_range can be seen together. ValueError or TypeError for an argument that no policy
    takes.
    """
    checks.one_of("kind", kind, KINDS)
    checks.whole("iterations", iterations)
    values = {"base_lr": base_lr, "max_lr": max_lr, "stepsize": stepsize, "gamma": gamma}
    shown = {
        name: [each(**{k: values[k] for k in fields_of(each) if k != "wave"}) for each in some]
        for name, some in KINDS.items()
    }
    every = [policy for some in shown.values() for policy in some]
    step = max(1, iterations // 200)
    bound = {"min": 0, "max": 2 * max_lr, "step": max_lr / 60}
    data = {
        "iterations": iterations,
        "start": values | {"kind": kind, "reading": "all", "wave": "triangle"},
        "kinds": [
            {
                "value": name,
                "name": name,
                "policies": [each.name for each in some],
                "fields": fields_of(KINDS[name][0]),
                "icon": icons.path(some[0], iterations),
                "colour": colours.css(name),
            }
            for name, some in shown.items()
        ],
        "readings": [
            {"value": "all", "name": "all three"},
            *(
                {"value": each.name, "name": name, "colour": colours.css(each.name)}
                for each, name in READINGS.items()
            ),
        ],
        "waves": [
            {
                "value": name,
                "name": name,
                "icon": icons.path(policies.Triangular(0.0, 1.0, 100, wave=wave), 400),
            }
            for name, wave in WAVES.items()
        ],
        "names": {policy.name: READINGS.get(type(policy), policy.name) for policy in every},
        "classes": {policy.name: type(policy).__name__ for policy in every},
        "colours": {policy.name: colours.css(policy.name) for policy in every},
        "sliders": {
            "base_lr": bound,
            "max_lr": bound,
            "stepsize": {"min": step, "max": max(iterations // 2, stepsize), "step": step},
            "gamma": {
                "min": min(1 - 6 / iterations, gamma),
                "max": 1,
                "step": 0.1 / iterations,
            },
        },
    }
    with still() as (figure, (ax,)):
        figures.policies({data["names"][p.name]: p for p in shown[kind]}, iterations, ax=ax)
    alt = f"The learning rate of {kind} from iteration 0 to {iterations:,}."
    return part("explorer", "Play with a policy", data, figure, alt)
