"""Learning-rate policies: small immutable objects that are functions of the iteration.

    >>> policy = Triangular(base_lr=0.001, max_lr=0.006, stepsize=2000)
    >>> policy(0), policy(2000), policy(4000)
    (0.001, 0.006, 0.001)

Call a policy with an iteration (an integer from 0 up) and it returns the
learning rate as a float; call it with an integer array and it returns a float64
array of the same shape. A policy holds no counter and no optimizer: it can be
printed, compared, hashed, drawn before it is used, and written as JSON with
`to_dict` and read back with `policy_from_dict`.

To write a policy of your own, define one class; see `Policy`.
"""

from clr.policies.base import Policy, known, policy_from_dict
from clr.policies.kinds import (
    CyclicalMomentum,
    Decay,
    Exp,
    ExponentialRangeRamp,
    ExpRange,
    ExpRangeAmplitude,
    ExpRangeCycle,
    Fixed,
    Inv,
    OneCycle,
    OneCycleMomentum,
    RangeRamp,
    Stages,
    Step,
    Triangular,
    Triangular2,
)
from clr.policies.waves import WAVES, hann, triangle, welch

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
    "hann",
    "known",
    "policy_from_dict",
    "triangle",
    "welch",
]
