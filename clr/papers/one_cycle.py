"""One large cycle (notebook 4): the author's logs, the reports of others, our best protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pandas as pd
from matplotlib.ticker import PercentFormatter

from clr.papers import colours, figures, published
from clr.papers import super_convergence as sc
from clr.papers.experiment import Experiment
from clr.papers.figures import plt
from clr.papers.verdicts import Summary
from clr.paths import ROOT
from clr.runs import Run, Store

Runs = Mapping[str, Sequence[Run]]

PROTOCOLS = sc.SUPERCONVERGENCE, sc.SUPERCONVERGENCE_SHORT  # of Fig. 1a; the paper's own first
LOGS = {"one cycle": "clr3SS5kFig1a", "step": "lr35Fig1a"}  # the author's, of Fig. 1a
RANGES = {"5,000": "5k", "20,000": "20k", "100,000": "100k"}  # iterations of his range tests
_TO_0 = "one cycle, down to 0"
_SENTENCES = {  # by the two arms of a claim
    ("one cycle", "step"): "One cycle beats steps that are eight times as long",
    ("one cycle", "one cycle, up to 0.35"): "A cycle up to 3 beats a cycle up to 0.35",
    (_TO_0, "one cycle"): "A cycle that ends at 0 beats one that ends at 0.1",
    (_TO_0, "cosine"): "A cycle that ends at 0 beats a cosine as long",
    ("one cycle", "step, squeezed"): "One cycle beats steps that are as long",
    ("one cycle", "cosine"): "One cycle beats a cosine as long",
    ("one cycle", "one cycle, whole batches"): "Batches in parts are as good as whole ones",
    ("one cycle", "1cycle"): "One cycle is as good as the author's later 1cycle",
    ("1cycle, 85 epochs", "inv"): "1cycle for 85 epochs, at twice the rates, beats inv",
    ("1cycle, 50 epochs", "inv"): "1cycle for 50 epochs beats inv for 85",
    ("1cycle, 25 epochs", "inv"): "1cycle for 25 epochs beats inv for 85",
    ("1cycle, 12 epochs", "inv"): "1cycle for 12 epochs beats inv for 85",
    ("1cycle, 12 epochs", "step"): "1cycle for 12 epochs beats steps for 85",
    ("momentum 0.9", "1cycle, 12 epochs"): "1cycle for 12 epochs is better with momentum 0.9",
}


def best(store: Store) -> tuple[Experiment, dict[str, list[Run]]]:
    """The protocol of Fig. 1a that answers its question best, and its recorded runs.

    The paper's own protocol, unless the short one has runs of more of the two arms.
    """
    found = [(each, each.most_recorded(store)) for each in PROTOCOLS]
    return max(found, key=lambda pair: (len(LOGS.keys() & pair[1].keys()), len(pair[1]) > 0))


def network(experiment: Experiment) -> str:
    """The network of an experiment in print, such as 'ResNet-20'."""
    return str(experiment.settings["model"]).replace("resnet", "ResNet-")


def sentence(row: Mapping) -> str:
    """What a judged claim about one large cycle says, as a sentence."""
    said = _SENTENCES.get((row["arm"], row["other"]), row["claim"])
    return f"{said} (new seeds)" if row["experiment"] == sc.MNIST_AGAIN.name else said


def _curve(log: str) -> pd.DataFrame:
    """The tests in one of the author's logs, thinned to at most 100."""
    curves = pd.read_csv(ROOT / "data" / "author_curves.csv")
    return curves[curves["log"] == log]


def range_tests():
    """The author's range tests of three lengths, one panel each. Returns the axes."""
    size = {"figsize": (7.6, 2.8), "layout": "constrained"}
    _, axes = plt.subplots(1, len(RANGES), sharey=True, **size)
    for ax, (length, name) in zip(axes, RANGES.items(), strict=True):
        curve = _curve(f"range3Iter{name}Fig2b")
        ax.plot("lr", "test_accuracy", data=curve, color=colours.colour("range_ramp"))
        ax.set(title=f"{length} iterations", ylim=(0, 1))
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes[0].set_ylabel("test accuracy")
    axes[1].set_xlabel("learning rate")
    return axes


def figure1a(experiment: Experiment, runs: Runs):
    """Fig. 1a: accuracy in the author's logs and, below, in our runs if there are any.

    Ours have two more schedules, which are as long as the cycle.
    """
    logs = {arm: [SimpleNamespace(history=_curve(log))] for arm, log in LOGS.items()}
    panels = {"the author's logs, ResNet-56": logs}
    shown = *LOGS, "step, squeezed", "cosine"
    if ours := {arm: runs[arm] for arm in shown if arm in runs}:
        panels[f"our runs, {network(experiment)}"] = ours
    styles = colours.styles({arm: experiment.arms[arm].policy for arm in shown})
    size = {"figsize": (7.6, 3.2 * len(panels)), "layout": "constrained"}
    _, axes = plt.subplots(len(panels), 1, squeeze=False, sharey=True, **size)
    for ax, (title, each) in zip(axes[:, 0], panels.items(), strict=True):
        figures.histories(each, ax=ax, styles=styles)
        ax.set_title(title, fontsize="medium")
    return axes[:, 0]


def compared(experiment: Experiment, runs: Runs) -> pd.DataFrame:
    """The final accuracies of both arms of Fig. 1a in percent, and their difference.

    One row for the paper, the author's logs, the owner of each repository that repeated both
    arms, and our runs, if there are runs of both.
    """
    ends = pd.read_csv(ROOT / "data" / "author_results.csv").set_index("log")["final_accuracy"]
    rows = {
        "the paper": published.of(sc.SUPERCONVERGENCE)["accuracy"].to_dict(),
        "the author's logs": {arm: ends[log] for arm, log in LOGS.items()},
    }
    others = pd.read_csv(ROOT / "data" / "others.csv")
    others = others[others["place"] == "SC Fig. 1a"]
    for who, each in others.set_index("arm").groupby("who", sort=False)["accuracy"]:
        if len(each) == len(LOGS):
            rows[who.partition("/")[0]] = each.to_dict()
    if all(runs.get(arm) for arm in LOGS):
        name = f"our runs, {network(experiment)}"
        rows[name] = {arm: Summary.of(runs[arm]).mean for arm in LOGS}
    table = 100 * pd.DataFrame(rows).T[list(LOGS)]
    table.columns = [f"{arm}, %" for arm in LOGS]
    table["difference"] = table.iloc[:, 0] - table.iloc[:, 1]
    return table.round(1)


def mnist(runs: Runs):
    """MNIST (SC Table 2): 1cycle against the number of its epochs, beside inv with 85.

    `runs` are those of `super_convergence.MNIST`. Means with one standard deviation, and stars
    and a dotted line for the published accuracies; runs that diverged are counted. Lengths
    below 6 epochs, which are far lower, are left out.
    """
    _, ax = plt.subplots(figsize=(7.6, 3.4), layout="constrained")
    ends = {arm: Summary.of(each) for arm, each in runs.items()}
    colour = colours.colour("one_cycle")
    cycles = {n: ends[f"1cycle, {n} epochs"] for n in (6, 12, 25, 50, 85)}
    means = [100 * each.mean for each in cycles.values()]
    spread = [100 * each.sd for each in cycles.values()]
    ax.errorbar(list(cycles), means, spread, marker="o", color=colour, label="1cycle, ours")
    level, everything = {"color": colours.colour("inv")}, published.of(sc.MNIST)
    ax.axhline(100 * ends["inv"].mean, label="inv for 85 epochs, ours", **level)
    theirs = 100 * everything.loc["inv", "accuracy"]
    ax.axhline(theirs, ls=":", label="inv, published", **level)
    paper = everything.query("policy == '1cycle'")
    star = {"marker": "*", "s": 110, "color": "white", "edgecolor": colour, "zorder": 4}
    ax.scatter(paper["epochs"], 100 * paper["accuracy"], label="1cycle, published", **star)
    for (n, each), mean in zip(cycles.items(), means, strict=True):
        if each.diverged:
            said = f"{each.diverged} of {each.n} diverged"
            ax.annotate(said, (n, mean), (0, -22), textcoords="offset points", ha="center")
    ax.set(xlabel="epochs", ylabel="test accuracy, %", xlim=(0, 95))
    ax.figure.legend(frameon=False, ncols=4, fontsize="small", loc="outside upper left")
    return ax
