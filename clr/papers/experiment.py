"""The class `Experiment`, which holds an experiment's arms, claims, data and plan.

An `Experiment` is defined once, in a module of this package, and used by the sweep, the
notebooks, the scoreboard, the README and the tests. Its arms are ways to train; its claims
compare two arms; its planned seeds are the runs that its verdicts need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from clr import checks
from clr.papers.statements import Statement
from clr.policies import Policy
from clr.runs import Run, Store
from clr.training import RunConfig, load

PAPERS = ("CLR", "SC", "ours")  # arXiv 1506.01186, arXiv 1708.07120, and this project
MARGIN = 0.005  # half a point of accuracy


@dataclass(frozen=True)
class Relation:
    """What a claim says about the difference of two mean accuracies, in units of its margin.

    It is reproduced when the interval of the difference lies in `allowed`, and not reproduced
    when the interval lies outside of `needed`.
    """

    allowed: tuple[float, float]
    needed: tuple[float, float]


RELATIONS = {
    "better than": Relation((0.0, inf), needed=(1.0, inf)),
    "not worse than": Relation((-1.0, inf), needed=(-1.0, inf)),
    "as good as": Relation((-1.0, 1.0), needed=(-1.0, 1.0)),
}


@dataclass(frozen=True)
class Arm:
    """One of the ways to train that an experiment compares.

    `settings` are fields of `RunConfig` that differ from the experiment's own. `seeds` is the
    planned number of runs where it differs from the experiment's.
    """

    policy: Policy
    iterations: int
    settings: Mapping[str, object] = field(default_factory=dict)
    seeds: int | None = None


@dataclass(frozen=True)
class Claim:
    """`arm` is `relation` `other`, as `source` says.

    `source` is a place in a paper, such as "CLR Table 1", or "control" for a comparison that
    this project asks for. An arm's accuracy is taken at its end or, if `at` or `other_at` is
    given, at that iteration. `margin` is a fraction of accuracy. `statement` is the statement
    of a paper that the claim tests; claims of several protocols can test the same one.
    ValueError for another relation.
    """

    source: str
    arm: str
    relation: str
    other: str
    at: int | None = None
    other_at: int | None = None
    margin: float = MARGIN
    statement: Statement | None = None

    def __post_init__(self):
        checks.one_of("relation", self.relation, RELATIONS)

    @property
    def control(self) -> bool:
        """Whether this project asks for the comparison, and no paper claims it."""
        return self.source == "control"

    @property
    def moments(self) -> tuple[tuple[str, int | None], tuple[str, int | None]]:
        """Both arms, each with the iteration at which it counts (None: its end)."""
        return (self.arm, self.at), (self.other, self.other_at)


@dataclass(frozen=True)
class Experiment:
    """Arms that are compared, the claims that they decide, and the plan to train them.

    `paper` is the paper whose protocol this is or tests, "CLR" or "SC", or "ours". `dataset`
    is the data set it is meant for, and `epoch` the number of iterations in one epoch of it
    (None if the reader chooses the data). `seeds` is the planned number of runs per arm; their
    seeds are `first_seed`, `first_seed + 1` and so on. `breaks` lists the conditions of the
    paper that a protocol of ours breaks; it is empty for the paper's own protocol. `settings`
    are the fields of `RunConfig` that all arms share. `second_look` names the arms that got
    more seeds after the results of their first seeds had been seen; verdicts about them say so.

    Raises ValueError, naming the experiment, when a claim names an unknown arm or an iteration
    at which that arm is not tested, and whatever `RunConfig` raises for a bad setting.
    """

    name: str
    about: str
    paper: str
    dataset: str
    seeds: int
    arms: Mapping[str, Arm]
    claims: tuple[Claim, ...] = ()
    epoch: int | None = None
    breaks: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    first_seed: int = 0
    second_look: tuple[str, ...] = ()

    def __post_init__(self):
        checks.one_of("paper", self.paper, PAPERS)
        checks.whole("seeds", self.seeds)
        checks.count("first_seed", self.first_seed)
        checks.whole_or_none("epoch", self.epoch)
        if not self.arms:
            raise ValueError(f"arms must hold at least one arm; got {self.arms!r}")
        for arm in self.second_look:
            checks.one_of(f"an arm of second_look of {self.name}", arm, self.arms)
        for claim in self.claims:
            for arm, at in claim.moments:
                checks.one_of(f"an arm of a claim of {self.name}", arm, self.arms)
                config = self.config(arm)
                tested = at is None or at == config.iterations
                if not tested and not (
                    0 <= at <= config.iterations and at % config.test_every == 0
                ):
                    raise ValueError(
                        f"{self.name}: a claim compares {arm} at iteration {at:,}, where it is "
                        f"not tested; it is tested every {config.test_every} iterations up to "
                        f"{config.iterations:,}"
                    )
        self.configs(seeds=1)  # raises now if a setting is not allowed

    @property
    def protocol(self) -> str:
        """Whose protocol this is: "CLR", "SC" or, where it breaks their conditions, "ours"."""
        return "ours" if self.breaks else self.paper

    def config(self, arm: str, seed: int = 0, dataset: str | None = None) -> RunConfig:
        """The run of one arm with one seed; ValueError if there is no such arm."""
        chosen = self.arms[checks.one_of("arm", arm, self.arms)]
        values = {"dataset": dataset or self.dataset} | {**self.settings, **chosen.settings}
        return RunConfig(chosen.policy, chosen.iterations, seed=seed, **values)

    def configs(
        self, *, seeds: int | None = None, dataset: str | None = None
    ) -> dict[str, list[RunConfig]]:
        """Every run, by arm: as many seeds as planned, or `seeds` of each arm (at least 1)."""
        first = self.first_seed
        checks.whole_or_none("seeds", seeds)
        return {
            name: [
                self.config(name, seed, dataset)
                for seed in range(first, first + (seeds or self.plan(name)))
            ]
            for name in self.arms
        }

    def plan(self, arm: str) -> int:
        """The planned number of runs of an arm."""
        return self.arms[checks.one_of("arm", arm, self.arms)].seeds or self.seeds

    def only(self, arms: Sequence[str]) -> Experiment:
        """The experiment with these arms alone, in this order, and the claims about them."""
        kept = {checks.one_of("arm", arm, self.arms): self.arms[arm] for arm in arms}
        claims = tuple(c for c in self.claims if c.arm in kept and c.other in kept)
        looked = tuple(arm for arm in self.second_look if arm in kept)
        return replace(self, arms=kept, claims=claims, second_look=looked)

    def text(self, claim: Claim) -> str:
        """The claim as a sentence.

        'triangular2 (25,000) is not worse than fixed (70,000)': iterations in brackets, unless
        both arms count at their ends and have the same length.
        """
        ends = [self.arms[arm].iterations for arm, _ in claim.moments]
        lengths = [
            end if at is None else at for end, (_, at) in zip(ends, claim.moments, strict=True)
        ]
        if lengths == ends and ends[0] == ends[1]:
            return f"{claim.arm} is {claim.relation} {claim.other}"
        ours, others = (
            f"{arm} ({length:,})"
            for (arm, _), length in zip(claim.moments, lengths, strict=True)
        )
        return f"{ours} is {claim.relation} {others}"

    def recorded(
        self,
        store: Store,
        *,
        seeds: int | None = None,
        dataset: str | None = None,
    ) -> dict[str, list[Run]]:
        """The recorded runs by arm; an arm without any is left out."""
        found = {
            arm: [run for config in each if (run := store.search(config))]
            for arm, each in self.configs(seeds=seeds, dataset=dataset).items()
        }
        return {arm: each for arm, each in found.items() if each}

    def train(
        self, store: Store, *, seeds: int | None = None, dataset: str | None = None
    ) -> dict[str, list[Run]]:
        """All runs by arm: those that are not recorded are trained here, one after another."""
        data = load(dataset or self.dataset)
        return {
            arm: [store.train(config, data=data) for config in each]
            for arm, each in self.configs(seeds=seeds, dataset=dataset).items()
        }

    def best_recorded(self, store: Store) -> dict[str, list[Run]]:
        """The recorded runs by arm, on the data set with the most recorded runs.

        This can be the data set the experiment is meant for, or another one, such as a copy.
        """
        found: dict[str, dict[str, list[Run]]] = {self.dataset: {}}
        for arm, configs in self.configs().items():
            for config in configs:
                for data, run in store.by_data(config).items():
                    found.setdefault(data, {}).setdefault(arm, []).append(run)
        most = sorted(found, key=lambda data: (data != self.dataset, data))
        return max(
            (found[data] for data in most), key=lambda runs: sum(map(len, runs.values()))
        )
