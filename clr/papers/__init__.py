"""The papers: their experiments, published numbers, claims and verdicts.

`EXPERIMENTS` holds every `Experiment` that a module listed below defines, by name.
"""

from collections.abc import Iterable
from types import ModuleType

from clr.papers import again, cyclical, residual, solvers, super_convergence, worth_it
from clr.papers.experiment import Arm, Claim, Experiment, claim

__all__ = ["EXPERIMENTS", "Arm", "Claim", "Experiment", "claim"]


def by_name(modules: Iterable[ModuleType]) -> dict[str, Experiment]:
    """The experiments that modules define; ValueError if two of them have one name."""
    found: dict[str, Experiment] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Experiment) and found.setdefault(value.name, value) != value:
                raise ValueError(
                    f"name must be another one for each experiment; {module.__name__} has a "
                    f"second {value.name!r}"
                )
    return found


EXPERIMENTS = by_name((cyclical, solvers, super_convergence, worth_it, again, residual))
