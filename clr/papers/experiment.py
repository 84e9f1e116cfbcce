"""The class `Experiment`, which holds an experiment's arms, claims, data and plan.

An `Experiment` is defined once, in a module of this package, and used by the sweep, the
notebooks, the scoreboard, the README and the tests. Its arms are ways to train; its claims
compare two arms; its planned seeds are the runs that its verdicts need.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from clr import checks
from clr.policies import Policy
from clr.runs import Run, Store
from clr.training import COLUMNS, SECOND, RunConfig

PAPERS = ("CLR", "SC", "ours")  # arXiv 1506.01186, arXiv 1708.07120, and this project
MARGIN = 0.005  # half a point of accuracy
MEASURES = ("loss", "accuracy")  # what an experiment's claims compare, on the test set
TESTS = COLUMNS[-2:]  # the columns of a history that have them, in this order


# The verdicts on a claim with this relation, in order, and the range of each in margins. The
# verdict is the first one whose range contains the whole interval of the difference.
RELATIONS = {
    "better than": (
        ("worse", -inf, 0.0),
        ("gain below the margin", -inf, 1.0),
        ("better", 0.0, inf),
    ),
    "not worse than": (("worse", -inf, -1.0), ("not worse", -1.0, inf)),
    "as good as": (
        ("different", -inf, -1.0),
        ("different", 1.0, inf),
        ("as good", -1.0, 1.0),
    ),
    "as published": (
        ("different", -inf, -1.0),
        ("different", 1.0, inf),
        ("as published", -1.0, 1.0),
    ),
}
# when a claim was committed: before its runs, when those of one arm were known, or after both
BEFORE, KNOWN, AFTER = WRITTEN = ("before", "one arm known", "after")
OURS = "our question"  # the source of a claim that no paper makes
ONLY_FOR_TESTS = "bn_fraction", "second_bn_fraction", "test_every"  # no effect on the weights
HOLDS = "better", "not worse", "as good", "as published"  # the verdicts of a claim that holds


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

    def __post_init__(self):
        checks.or_none(checks.whole)("seeds", self.seeds)


Side = tuple[str, int | None, bool, str | None]  # of a claim


@dataclass(frozen=True)
class Claim:
    """`arm` is `relation` `other`, as `source` says.

    `source` is a place in a paper, such as "CLR Table 1", or `OURS` for a comparison that this
    project asks for. An arm's accuracy is taken at its end or, if `at` or `other_at` is
    given, at that iteration. With `second` or `other_second`, that arm's tests with the second
    running statistics count (`RunConfig.second_bn_fraction`). "as published" compares an arm
    with the accuracy that the paper publishes for it; `other` is then the arm itself. `margin`
    is a fraction of accuracy, or in nats where the experiment compares losses. `statement` is
    the sentence of `clr.papers.statements` that the claim tests; claims of several protocols
    can test the same one. With `minus` (or `other_minus`), the name of a third arm, a run
    counts with the difference between it and that arm's run with the same seed. Holm's
    correction is made among the claims that are `primary`; for None see `Experiment.primary`.
    `written` says whether the claim was committed before the first run of its arms had ended,
    when that of one arm was known, or after both. `claim` makes a Claim of a sentence.
    """

    source: str
    arm: str
    relation: str
    other: str
    at: int | None = None
    other_at: int | None = None
    margin: float = MARGIN
    statement: str | None = None
    second: bool = False
    other_second: bool = False
    primary: bool | None = None
    minus: str | None = None
    other_minus: str | None = None
    written: str = BEFORE

    def __post_init__(self):
        checks.one_of("relation", self.relation, RELATIONS)
        checks.one_of("written", self.written, WRITTEN)
        checks.rate("margin", self.margin)

    @property
    def control(self) -> bool:
        """Whether this project asks for the comparison, and no paper claims it."""
        return self.source == OURS

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both arms, each with its `at`, `second` and `minus`."""
        return (
            (self.arm, self.at, self.second, self.minus),
            (self.other, self.other_at, self.other_second, self.other_minus),
        )

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms whose runs decide the claim, with those of `minus` and `other_minus`."""
        every = self.arm, self.other, self.minus, self.other_minus
        return tuple(dict.fromkeys(arm for arm in every if arm))


def claim(sentence: str, source: str = OURS, statement: str | None = None, **differs) -> Claim:
    """The claim "ARM RELATION OTHER", such as "triangular2 better than decay".

    The sentence is split at the words of its relation, one of `RELATIONS`, so the names of arms
    can hold spaces and commas. "ARM as published" has one arm. `differs` are other fields of
    `Claim`. ValueError unless the sentence has exactly one relation, between two arms.
    """
    parts = re.split(f" ({'|'.join(RELATIONS)})(?: |$)", sentence)
    if len(parts) != 3 or bool(parts[2]) == (parts[1] == "as published"):
        raise ValueError(
            "a claim must read 'ARM RELATION OTHER', with one relation of "
            f"{', '.join(RELATIONS)} (as published has no OTHER); got {sentence!r}"
        )
    arm, relation, other = parts
    return Claim(source, arm, relation, other or arm, statement=statement, **differs)


@dataclass(frozen=True)
class Experiment:
    """Arms that are compared, the claims that they decide, and the plan to train them.

    `paper` is the paper whose protocol this is or tests, "CLR" or "SC", or "ours". `dataset`
    is the data set it is meant for, and `epoch` the number of iterations in one epoch of it
    (None if the reader chooses the data). `seeds` is the planned number of runs per arm; their
    seeds are `first_seed`, `first_seed + 1` and so on. `breaks` lists the conditions of the
    paper that a protocol of ours breaks; it is empty for the paper's own protocol. `settings`
    are the fields of `RunConfig` that all arms share. `measure` is what the claims compare on
    the test set, the "accuracy" or the "loss" in nats (less is better). `second_look` names the
    arms that got more seeds after the results of their first seeds had been seen; verdicts
    about them say so.

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
    measure: str = "accuracy"

    def __post_init__(self):
        checks.one_of("paper", self.paper, PAPERS)
        checks.one_of("measure", self.measure, MEASURES)
        checks.whole("seeds", self.seeds)
        checks.count("first_seed", self.first_seed)
        checks.or_none(checks.whole)("epoch", self.epoch)
        if not self.arms:
            raise ValueError(f"arms must hold at least one arm; got {self.arms!r}")
        for arm in self.second_look:
            checks.one_of(f"an arm of second_look of {self.name}", arm, self.arms)
        for claim in self.claims:
            said = f"the claim '{claim.arm} {claim.relation} {claim.other}' of {self.name}"
            for arm, at, second, minus in claim.sides:
                if minus:
                    checks.one_of(f"an arm of {said}", minus, self.arms)
                config = self.config(checks.one_of(f"an arm of {said}", arm, self.arms))
                end = config.iterations
                if not (at in (None, end) or (0 <= at <= end and at % config.test_every == 0)):
                    raise ValueError(
                        f"{said} is about {arm} at iteration {at:,}, where it is not tested; "
                        f"it is tested every {config.test_every} iterations up to {end:,}"
                    )
                if second and config.second_bn_fraction is None:
                    raise ValueError(
                        f"{said} is about {arm} with its second running statistics, but its "
                        "config has no second_bn_fraction"
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
        checks.or_none(checks.whole)("seeds", seeds)
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

    def command(self, arms: Iterable[str] = ()) -> str:
        """The command that trains the runs of these arms, or of all, that are not recorded."""
        names = f" --arms {shlex.join(dict.fromkeys(arms))}" if arms else ""
        return f"python -m clr sweep --experiment {self.name}{names}"

    def only(self, arms: Sequence[str]) -> Experiment:
        """The experiment with these arms alone, in this order, and the claims about them."""
        kept = {checks.one_of("arm", arm, self.arms): self.arms[arm] for arm in arms}
        claims = tuple(c for c in self.claims if kept.keys() >= set(c.arms))
        looked = tuple(arm for arm in self.second_look if arm in kept)
        return replace(self, arms=kept, claims=claims, second_look=looked)

    def columns(self, claim: Claim) -> tuple[str, ...]:
        """The columns of the two arms' histories that a claim compares."""
        measure = MEASURES.index(self.measure)
        return tuple((SECOND if second else TESTS)[measure] for _, _, second, _ in claim.sides)

    def primary(self, claim: Claim) -> bool:
        """Whether the claim is among those for which Holm's correction is made.

        Where it does not say so itself: if it is a claim of a paper, or if the experiment has
        neither a claim of a paper nor one that says that it is primary.
        """
        if claim.primary is not None:
            return claim.primary
        return not claim.control or all(
            each.control and not each.primary for each in self.claims
        )

    def paired(self, claim: Claim) -> bool:
        """Whether the runs of both arms with the same seed have the same weights.

        They are then moments of one run, or tests of one training with two kinds of running
        statistics. The differences that a claim with `minus` compares are not paired.
        """
        if claim.minus or claim.other_minus:
            return False
        ours, others = (self.config(arm).to_dict() for arm in (claim.arm, claim.other))
        return all(ours[name] == others[name] for name in ours if name not in ONLY_FOR_TESTS)

    def text(self, claim: Claim) -> str:
        """The claim as a sentence.

        'triangular2 (25,000) is not worse than fixed (70,000)': iterations in brackets, unless
        both arms count at their ends and have the same length.
        """
        ends = [self.arms[arm].iterations for arm, *_ in claim.sides]
        ats = [at for _, at, *_ in claim.sides]
        lengths = [end if at is None else at for end, at in zip(ends, ats, strict=True)]
        plain = lengths == ends and ends[0] == ends[1] and claim.relation != "as published"
        ours, others = (
            arm
            + " with its other running statistics" * second
            + (f" minus {minus}" if minus else "")
            + f" ({length:,})" * (not plain)
            for (arm, _, second, minus), length in zip(claim.sides, lengths, strict=True)
        )
        if claim.relation == "as published":
            return f"{ours} is as published"
        return f"{ours} is {claim.relation} {others}"

    def runs(
        self,
        run_of: Callable[[RunConfig], Run | None],
        *,
        seeds: int | None = None,
        dataset: str | None = None,
    ) -> dict[str, list[Run]]:
        """The runs that `run_of` gives for the configs, by arm; an arm without any is left out.

        `Store.search` gives what is recorded; `Store.train` also trains what is not.
        """
        found = {
            arm: [run for config in each if (run := run_of(config))]
            for arm, each in self.configs(seeds=seeds, dataset=dataset).items()
        }
        return {arm: each for arm, each in found.items() if each}

    def recorded(self, store: Store, **which) -> dict[str, list[Run]]:
        """The recorded runs by arm; `which` are the `seeds` and the `dataset` of `runs`."""
        return self.runs(store.search, **which)

    def most_recorded(self, store: Store) -> dict[str, list[Run]]:
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
