"""The papers: their experiments, published numbers, claims and verdicts.

`EXPERIMENTS` holds every `Experiment` that a module listed here defines, by name.
"""

from clr.papers import again, cyclical, solvers, super_convergence, worth_it
from clr.papers.experiment import Arm, Claim, Experiment, claim

__all__ = ["EXPERIMENTS", "Arm", "Claim", "Experiment", "claim"]

EXPERIMENTS: dict[str, Experiment] = {
    value.name: value
    for module in (cyclical, solvers, super_convergence, worth_it, again)
    for value in vars(module).values()
    if isinstance(value, Experiment)
}
