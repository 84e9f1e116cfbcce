"""The chapters of the book: the question of each, what the records answer, how sure that is.

A notebook shows this under its title, the front page of `clr run` and the book list it. Numbers
and the words yes, no and undecided are computed from the records, so that they follow new runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from clr.papers import EXPERIMENTS, again, published, sensitivity, verdicts, worth_it
from clr.papers.scoreboard import counts, kinds
from clr.papers.sensitivity import Curve
from clr.papers.verdicts import Summary
from clr.range_test import RangeTest
from clr.runs import Run, Store


class Records:
    """What the sentences of the chapters need of the recorded runs."""

    def __init__(self, store: Store | None = None):
        self._store = store or Store.committed()
        self._runs: dict[str, dict[str, list[Run]]] = {}
        self._judged: dict[str, list[dict]] = {}

    def runs(self, experiment: str) -> dict[str, list[Run]]:
        """The most recorded runs of an experiment, by arm."""
        if experiment not in self._runs:
            self._runs[experiment] = EXPERIMENTS[experiment].most_recorded(self._store)
        return self._runs[experiment]

    def judged(self, experiment: str) -> list[dict]:
        """The rows of `verdicts.judge` of an experiment."""
        if experiment not in self._judged:
            found = verdicts.judge(EXPERIMENTS[experiment], self.runs(experiment))
            self._judged[experiment] = found
        return self._judged[experiment]

    @cached_property
    def rows(self) -> list[dict]:
        """The rows of `verdicts.judge` of all experiments."""
        return [row for name in EXPERIMENTS for row in self.judged(name)]

    def percent(self, experiment: str, arm: str, at: int | None = None) -> str:
        """The mean accuracy of an arm, such as '78.8 %', or 'not run'."""
        summary = Summary.of(self.runs(experiment).get(arm, []), at)
        return f"{100 * summary.mean:.1f} %" if summary.accuracies else "not run"

    def row(self, experiment: str, claim: str) -> dict:
        """The judged claim with this text. KeyError if the experiment has no such claim."""
        for row in self.judged(experiment):
            if row["claim"].startswith(claim):
                return row
        raise KeyError(f"{experiment} has no claim that begins with {claim!r}")

    def answer(self, experiment: str, claim: str) -> str:
        """'Yes', 'No', 'Undecided' or 'Not run yet'."""
        row = self.row(experiment, claim)
        if row["verdict"] == "not run":
            return "Not run yet"
        return {True: "Yes", False: "No", None: "Undecided"}[row["holds"]]

    def points(self, experiment: str, claim: str) -> str:
        """The difference of a claim: '1.0 points below', '5.4 points above' or 'not run'."""
        row = self.row(experiment, claim)
        if row["difference"] is None:
            return row["verdict"]
        points, digits = 100 * row["difference"], 1 if row["margin"] >= 0.001 else 2
        return f"{abs(points):.{digits}f} points {'above' if points >= 0 else 'below'}"

    def over_rates(self) -> tuple[list[Curve], list[Curve], list[Curve]]:
        """The curves of cycles, of falls after a warm-up, and of schedules without a rise.

        All have the same highest rate, 0.016.
        """
        swept = self.runs("sensitivity"), worth_it.schedules(1), worth_it.RATES
        others = worth_it.curves(*swept)
        rising = worth_it.rising_curves(self.runs("warm_up_rates"))
        cycles = [others.pop(name) for name in worth_it.CYCLES]
        cycles.append(rising.pop("one cycle, to 0"))
        return cycles, list(rising.values()), list(others.values())

    def n(self, experiment: str, *arms: str) -> str:
        """How many runs these arms have: '5 runs', '1 run' or '3 to 5 runs'."""
        found = sorted(len(self.runs(experiment).get(arm, [])) for arm in arms)
        few, many = found[0], found[-1]
        runs = "run" if many == 1 else "runs"
        return f"{many} {runs}" if few == many else f"{few} to {many} {runs}"


@dataclass(frozen=True)
class Chapter:
    """A chapter: its notebook, its question, and what answers it.

    `found` and `sure` make one or two sentences of `Records`; `minutes` is the time to read it.
    """

    notebook: str
    title: str
    question: str
    found: Callable[[Records], str]
    sure: Callable[[Records], str]
    minutes: int
    paper: str


def _policies(r: Records) -> str:
    lost = r.row("table1", "exp_range is as good as exp_range, amplitude only")
    return (
        "They are functions of the iteration, and each fits in one line. exp_range is read in "
        "several ways: in the paper both bounds shrink, in PyTorch and Keras only the distance "
        "between them. In our runs of Table 1, PyTorch's reading ends "
        f"{100 * lost['difference']:.1f} points lower."
    )


def _bounds(r: Records) -> str:
    each = r.runs("range_test")["range ramp"]
    found = RangeTest.from_runs(each).bounds()
    paper = published.of(EXPERIMENTS["range_test"]).loc["range ramp"]
    return (
        "Yes: one run whose rate rises shows both bounds. The paper read "
        f"{float(paper['base_lr']):g} and {float(paper['max_lr']):g}; "
        f"our {len(each)} runs give {found.base_lr:.1g} and {found.max_lr:.1g}."
    )


def _table1(r: Records) -> str:
    third = "triangular2 (25,000) is not worse than fixed (70,000)"
    return (
        f"{r.answer('table1', third)}. After 25,000 iterations, triangular2 reaches "
        f"{r.percent('table1', 'triangular2')}; the fixed rate reaches "
        f"{r.percent('table1', 'fixed')} after 70,000. In as many iterations as triangular2, "
        f"the fixed rate reaches {r.percent('table1', 'fixed', 25_000)}, a cosine "
        f"{r.percent('table1', 'cosine')} and a step schedule {r.percent('table1', 'step')}."
    )


def _table1_sure(r: Records) -> str:
    row = r.row("table1", "triangular2 (25,000) is not worse than fixed (70,000)")
    sure = "The deficit against the longer run is clear"
    if row["holm"] == "no":
        sure += "; that it exceeds half a point does not survive Holm's correction"
    return (
        f"{r.n('table1', 'triangular2', 'fixed', 'decay', 'exp_range', 'cosine')} per row. "
        f"{sure}. The data are a JPEG copy of CIFAR-10."
    )


# Where the question of Fig. 1a is asked: network, and how near that is to the paper.
_FIGURE1A = {
    "superconvergence": ("ResNet-56", "at the paper's own protocol."),
    "superconvergence_short": (
        "ResNet-20",
        "at a fifth of the paper's length, with a smaller network.",
    ),
}
_AS_LONG = {  # the arms that are as long as the cycle, in a sentence
    "one cycle": "one cycle",
    "one cycle, up to 0.35": "a cycle up to 0.35",
    "one cycle, down to 0": "a cycle that ends at 0",
    "step, squeezed": "a step schedule",
    "cosine": "a cosine",
}


_MNIST = "1cycle, 25 epochs (2,930) is better than inv"


def _listed(parts: Sequence[str]) -> str:
    """'none of them', 'a', 'a and b' or 'a, b and c'."""
    *others, last = parts or ["none of them"]
    return " and ".join(filter(None, [", ".join(others), last]))


def _figure1a(r: Records) -> tuple[str, list[str]] | None:
    """The experiment that says most of Fig. 1a, and those of its arms that it is about.

    These are the cycle and the long steps or, while one of the two is not run, the arms as long
    as the cycle. None if there is no run at all.
    """
    for name in _FIGURE1A:
        if {"one cycle", "step"} <= r.runs(name).keys():
            return name, ["one cycle", "step"]
    for name in _FIGURE1A:
        if arms := [arm for arm in _AS_LONG if arm in r.runs(name)]:
            return name, arms
    return None


def _super(r: Records) -> str:
    if found := _figure1a(r):
        name, arms = found
        network, _ = _FIGURE1A[name]
        length = f"{EXPERIMENTS[name].arms['one cycle'].iterations:,}"
        if "step" in arms:
            return (
                f"{r.answer(name, f'one cycle ({length}) is')}, with {network}: one cycle "
                f"reaches {r.percent(name, 'one cycle')}, and a step schedule that is eight "
                f"times as long {r.percent(name, 'step')}."
            )
        first, *others = arms
        each = [f"{_AS_LONG[first]} reaches {r.percent(name, first)}"]
        each += [f"{_AS_LONG[arm]} {r.percent(name, arm)}" for arm in others]
        here = (
            "the step schedule that is eight times as long is not run. In "
            f"{length} iterations of {network}, {_listed(each)}."
        )
    else:
        here = (
            "no run at a length that the papers use is recorded. In 3 epochs of ResNet-8, "
            "which is too short for the claim, the long step schedule is better."
        )
    mnist = r.points("mnist", _MNIST)
    return (
        f"Not known yet: {here} On MNIST, the author's later 1cycle ends {mnist} a usual "
        "schedule that is more than three times as long."
    )


def _super_sure(r: Records) -> str:
    if found := _figure1a(r):
        name, arms = found
        planned = EXPERIMENTS[name].seeds
        few = min(len(r.runs(name)[arm]) for arm in arms)
        missing = f" of {planned} planned" if few < planned else ""
        each = " per row" if len(arms) > 1 else ""
        sure = f"{r.n(name, *arms)}{missing}{each}, {_FIGURE1A[name][1]}"
    else:
        sure = "No residual network of the paper has a finished run of its own length here."
    doubt = r.row("mnist", _MNIST)["holm"] == "no"
    weak = "; the gain does not hold after Holm's correction" if doubt else ""
    return f"{sure} On MNIST, {r.n('mnist', '1cycle, 25 epochs', 'inv')} per row{weak}."


def _of_solver(r: Records, claim: str) -> str:
    """The answer of `solvers_again`, if it has that claim and all its runs, or of `solvers`."""
    planned = EXPERIMENTS["solvers_again"].seeds
    again = [row for row in r.judged("solvers_again") if row["claim"].startswith(claim)]
    whole = again and min(again[0]["n"]) >= planned
    return r.answer("solvers_again" if whole else "solvers", claim)


def _solvers(r: Records) -> str:
    names = "Nesterov", "Adam", "RMSprop", "AdaGrad", "AdaDelta"
    third, long = (
        [_of_solver(r, f"{name}, triangular (4,000) is {relation}") for name in names]
        for relation in ("not worse than", "better than")
    )
    many = ("none", "one", "two", "three", "four", "all")[long.count("Yes")]
    listed = {
        wanted: _listed([n for n, answer in zip(names, third, strict=True) if answer == wanted])
        for wanted in ("Yes", "No", "Undecided")
    }
    own = r.points("table3", "Nesterov, triangular (25,000) is not worse than")
    network = "figure6_scaled"
    theirs = published.of(EXPERIMENTS[network])["accuracy"]
    return (
        "On the network of Fig. 6, cycles reach "
        f"{r.percent(network, 'triangular')} and the fixed rate, in equally many iterations, "
        f"{r.percent(network, 'fixed')} (the paper: {100 * theirs['triangular']:.1f} and "
        f"{100 * theirs['fixed']:.1f} %). With the other solvers of Table 3, in short runs, "
        f"cycles are better in equally many iterations for {many} of five. In a third of the "
        f"iterations, they reach the fixed rate with {listed['Yes']}, and not with "
        f"{listed['No']}; {listed['Undecided']} are undecided. At the paper's own length, "
        f"Nesterov's cycles end {own} the fixed rate, to which we gave two drops."
    )


def _worth_it(r: Records) -> str:
    hold, linear = "constant, then linear", "linear to 0"
    ends = linear, "cosine to 0", "one cycle, to 0", "two cycles, to 0"
    means = [Summary.of(r.runs("warm_up")[arm]).mean for arm in ends]
    better = r.row("warm_up", f"{hold} is better than {linear}")["verdict"] == "better"
    cycles, risen, others = r.over_rates()
    return (
        "Not in our runs. With the rate ending at 0, one and two cycles, a cosine and a linear "
        f"fall reach {100 * min(means):.1f} to {100 * max(means):.1f} %. Holding the rate and "
        f"then letting it fall reaches {r.percent('warm_up', hold)}"
        f"{', which is better than a linear fall (a planned test)' if better else ''}; a "
        f"constant rate reaches {r.percent('at_chosen_rates', 'constant')}. At the highest "
        "rate that we tried, schedules that rise to it first, cycles and others, reach "
        f"{sensitivity.at_highest(cycles + risen)}, and those that begin at it "
        f"{sensitivity.at_highest(others)}.{_on_text(r)}"
    )


def _on_text(r: Records) -> str:
    """What `again` says of cycles and of restarts, once the claims are decided."""
    one = r.row("again", "one cycle is as good as linear")["verdict"]
    two = r.row("again", "two cycles to 0 is not worse than linear")["verdict"]
    if not {one, two}.isdisjoint(verdicts.OPEN):
        return ""
    said = (
        f" On text, one cycle is {'as good as' if one == 'as good' else 'different from'} a "
        f"linear fall with a warm-up, and two cycles are {two}"
        f"{' than this fall' if two == 'worse' else ''}."
    )
    restarts = {
        r.row("again", f"SGDR, 1 : 1 : 2 ({n}) is not worse than branch")["verdict"]
        for n in (again.T // 2, again.T)
    }
    if restarts == {"worse"}:
        said += (
            " If the length is not known, a constant rate with branches that fall to 0 is "
            "better than restarts (SGDR)."
        )
    return said


def _score(r: Records) -> str:
    own = counts(r.rows).loc["claims, at the papers' own protocols"]
    return (
        f"Of {own.sum()} claims at the papers' own protocols, {own['hold']} hold, "
        f"{own['do not hold']} do not, {own['undecided']} are undecided, and "
        f"{own['not run']} are not run yet."
    )


def _kept(r: Records) -> str:
    claims, *_ = kinds(r.rows).values()
    kept = [row["holds"] for row in claims if row["holm"] == "yes"]
    return (
        "Each verdict has an interval from repeated runs. After a correction for the number of "
        f"claims, {kept.count(True)} still hold and {kept.count(False)} still do not. Some "
        "claims were written down after their runs; the table says which."
    )


def _statistics(r: Records) -> str:
    row = r.row("superconvergence_small", "one cycle is as good as one cycle, the step's")
    slow, fast = (
        r.row("figure6", f"triangular{average} (4,000) is not worse than fixed")["verdict"]
        for average in ("", ", bn_fraction 0.9")
    )
    return (
        f"{'Yes' if slow != fast else 'Not in our runs'}. Tested with a slow moving average of "
        "the batch statistics instead of a fast one, the same weights score "
        f"{abs(100 * row['difference']):.0f} points lower after a short cycle. The claim "
        "that cycles need a third of the iterations, on the network of the paper's Figure 6, "
        "is "
        f"'{slow}' with a slow and '{fast}' with a fast average."
    )


CHAPTERS = (
    Chapter(
        "01_schedule_math",
        "Write down the policies",
        "What exactly are the policies, and where do implementations disagree?",
        _policies,
        lambda r: (
            "The formulas are exact, and tests compare them with PyTorch's. The training "
            "is one network."
        ),
        20,
        "CLR 3.1",
    ),
    Chapter(
        "02_lr_range_test",
        "Find the bounds",
        "Can one short run find good bounds for the rate?",
        _bounds,
        lambda r: (
            "The seeds agree closely. Another length of the ramp or another rule moves "
            "the bounds, by up to a factor of two."
        ),
        18,
        "CLR 3.3, Fig. 3",
    ),
    Chapter(
        "03_cifar10_policies",
        "Train with each policy",
        "Are cycles as good as a fixed rate that trains three times as long?",
        _table1,
        _table1_sure,
        20,
        "CLR 4.1, Table 1",
    ),
    Chapter(
        "04_super_convergence",
        "Train with one large cycle",
        "Can one large cycle replace a schedule that is eight times as long?",
        _super,
        _super_sure,
        20,
        "1708.07120, Fig. 1a",
    ),
    Chapter(
        "05_other_solvers",
        "Change the solver and the network",
        "Do cycles help other solvers and another network?",
        _solvers,
        lambda r: (
            f"Of Fig. 6, {r.n('figure6_scaled', 'triangular', 'fixed')} per row, at a length "
            "at which one pilot run had come near the paper's numbers. Of Table 3, "
            f"{r.n('solvers', 'Adam, triangular', 'Adam, fixed')} per row, at a sixth of "
            "the paper's length."
        ),
        20,
        "CLR Table 3, Fig. 6",
    ),
    Chapter(
        "06_worth_it",
        "Compare at equal budgets",
        "Is a cycle better than other schedules if each has its own best rate?",
        _worth_it,
        lambda r: (
            f"{r.n('at_chosen_rates', 'constant', 'linear to 0', 'two cycles, to 0')} per "
            "schedule, with other seeds than the runs that chose its rate; 2 to 3 at the "
            "highest rate. One small network on a JPEG copy of CIFAR-10, one small transformer "
            "on text, and short trainings."
        ),
        15,
        "neither paper's",
    ),
    Chapter(
        "07_scoreboard",
        "Score both papers",
        "What is reproduced, what is not, what is open?",
        _score,
        _kept,
        10,
        "both, every table",
    ),
    Chapter(
        "appendix_range_test_any_model",
        "Appendix: the range test on any model",
        "Does the range test work with other models, losses and optimizers?",
        lambda r: (
            "Yes, with four arguments. It reads accuracy where there is one, and the loss "
            "where there is none, and it says so when it cannot see a rise."
        ),
        lambda r: "Measured against ten other ways to find a rate, on nineteen small tasks.",
        10,
        "CLR 3.3",
    ),
    Chapter(
        "appendix_running_statistics",
        "Appendix: the same weights, 15 points apart",
        "Can the way of testing a network change the verdict on a schedule?",
        _statistics,
        lambda r: (
            f"{r.n('figure6', 'fixed', 'triangular')} per row, each tested in both ways. How "
            "large the effect is depends on the network, and on how fast its weights change."
        ),
        10,
        "SC Fig. 1a, CLR Fig. 6",
    ),
)


def chapter(notebook: str) -> Chapter:
    """The chapter of a notebook, by its name without `.ipynb`; KeyError for another."""
    return {each.notebook: each for each in CHAPTERS}[notebook]


class Box:
    """The box under a title: the question, what we found, how sure we are."""

    def __init__(self, notebook: str, records: Records | None = None):
        self.chapter, self.records = chapter(notebook), records or Records()
        self._lines = {
            "Question": self.chapter.question,
            "What we found": self.chapter.found(self.records),
            "How sure": self.chapter.sure(self.records),
        }

    def _repr_markdown_(self) -> str:
        return "\n>\n".join(f"> **{name}.** {said}" for name, said in self._lines.items())

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {said}" for name, said in self._lines.items())
