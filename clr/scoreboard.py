"""Every claim and published number beside our runs: `python -m clr claims`, notebook 5."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan

import numpy as np
import pandas as pd

from clr import claims, runs, tables
from clr.claims import Claim
from clr.experiments import EXPERIMENTS, Runs
from clr.range_test import RangeTest
from clr.runs import Run

SEEDS = 5  # look for runs with seeds 0 to 4


@dataclass(frozen=True)
class Judged:
    """An experiment and the claims that its runs decide.

    `full`: the protocol is the paper's, so that its numbers stand beside ours; one of our own
    is `shorter` times shorter or differs otherwise.
    """

    experiment: str
    claims: tuple[Claim, ...]
    paper: str  # CLR or SC, as in data/published.csv
    full: bool = False
    shorter: int = 1


JUDGED = (
    Judged("table1", claims.TABLE1, "CLR", full=True),
    Judged("tenth", claims.TABLE1, "CLR", shorter=10),
    Judged("laptop", claims.LAPTOP, "CLR"),
    Judged("stepsize", claims.STEPSIZE, "CLR"),
    Judged("superconvergence", claims.SUPERCONVERGENCE, "SC", full=True),
    Judged("superconvergence_more", claims.SUPERCONVERGENCE_MORE, "SC", full=True),
    Judged("superconvergence_small", claims.SUPERCONVERGENCE, "SC"),
    Judged("mnist", claims.MNIST, "SC", full=True),
)
# where a table's or figure's rows are run: (place, data set) -> experiment
RUN_BY = {
    ("CLR Table 1", "CIFAR-10"): "table1",
    ("CLR Fig. 3", "CIFAR-10"): "range_test",
    ("SC Fig. 1a", "CIFAR-10"): "superconvergence",
    ("SC Table 1", "CIFAR-10"): "superconvergence_more",
    ("SC Fig. 4b", "CIFAR-10"): "superconvergence_more",
    ("SC Table 2", "MNIST"): "mnist",
}


@cache
def arms_and_runs(experiment: str, committed: bool) -> tuple[Runs, dict[str, list[Run]]]:
    """The arms of an experiment and their recorded runs: on the data with the most of them.

    That is the data it is meant for, or data of which there are committed records.
    """
    make, meant = EXPERIMENTS[experiment]
    names = {meant}
    for each in make(meant, SEEDS).values():
        for config in each:
            other = runs.recorded(config, other_data=True, committed=True)
            names |= {other.data["name"]} if other else set()
    tried = [make(name, SEEDS) for name in sorted(names, key=lambda name: name != meant)]
    tried = [(arms, runs.found(arms, committed=committed)) for arms in tried]
    return max(tried, key=lambda pair: sum(map(len, pair[1].values())))


def _made(each: Sequence[Run]) -> dict[str, str]:
    """What data and machine these runs are of, in print."""
    return {
        "data": "; ".join(sorted({tables.data_name(run) for run in each})) or "–",
        "device": "; ".join(sorted({run.provenance["device"] for run in each})) or "–",
    }


def _command(experiment: str, arms: Sequence[str], n: int) -> str:
    names = shlex.join(dict.fromkeys(arms))
    return f"python -m clr sweep --experiment {experiment} --seeds {n} --arms {names}"


def _mean(values: Sequence[float], digits: int) -> str:
    sd = np.std(values, ddof=1) if len(values) > 1 else None
    return tables.percent(float(np.mean(values)), sd, digits) if len(values) else "not run"


def _diverged(each: Sequence[Run]) -> str:
    """' (1 of 2 diverged)', or nothing."""
    n = sum(run.ended != "finished" for run in each)
    return f" ({n} of {len(each)} diverged)" if n else ""


def _numbers(experiment: str) -> dict[str, float]:
    """The published final accuracy of each arm of an experiment, as far as there is one."""
    numbers = {}
    for (place, dataset), name in RUN_BY.items():
        if name == experiment and name != "range_test":
            for row in tables.published(place, dataset).itertuples():
                numbers[row.arm] = row.accuracy
    return numbers


def comparisons(*, committed: bool = False) -> list[dict]:
    """Every claim of `clr.claims`, judged, in plain values; `committed`: by `data/runs` alone.

    Keys: claim, experiment, source, paper and ours (the two arms' accuracies, in print), n of
    both, difference, low and high (fractions or None), margin, relation, verdict, data, device,
    command.
    """
    arms_and_runs.cache_clear()  # there may be new runs
    found = []
    for protocol in JUDGED:
        arms, recorded = arms_and_runs(protocol.experiment, committed)
        numbers = _numbers(protocol.experiment) if protocol.full else {}
        for row in claims.judged(protocol.claims, arms, recorded, shorter=protocol.shorter):
            claim, ours, others = row["claim"], row["ours"], row["others"]
            pair, digits = (claim.arm, claim.other), 1 if claim.margin >= 0.001 else 2
            theirs = [numbers.get(arm) for arm in pair]
            if claim.at or claim.other_at or None in theirs:
                theirs = []
            said = "our control" if claim.source == "control" else claim.source
            found.append(
                {
                    "claim": row["text"],
                    "experiment": protocol.experiment,
                    "source": f"{protocol.paper} {said}",
                    "paper": " / ".join(tables.percent(x, None, digits) for x in theirs) or "–",
                    "ours": " / ".join(
                        _mean(values, digits) + _diverged(recorded.get(arm, ()))
                        for values, arm in zip((ours, others), pair, strict=True)
                    ),
                    "n": [len(ours), len(others)],
                    "difference": row["difference"],
                    "low": None if isnan(row["low"]) else row["low"],
                    "high": None if isnan(row["high"]) else row["high"],
                    "points": claims.points(row),
                    "relation": claim.relation,
                    "margin": claim.margin,
                    "verdict": row["verdict"],
                    **_made([run for arm in pair for run in recorded.get(arm, [])]),
                    "command": _command(protocol.experiment, pair, max(3, len(ours))),
                }
            )
    return found


def _why_not(row, known: bool) -> str:
    if row.dataset == "ImageNet":
        return "not run: ImageNet"
    return "not run" if known else f"not run: no experiment yet ({row.model})"


def numbers() -> list[dict]:
    """Every row of data/published.csv and what our runs of it say, in plain values.

    Means are over the runs that did not diverge; how many did is said.

    Keys: place, dataset, model, policy, setting, paper and ours (in print), accuracy, mean and
    sd (fractions or None), n, data, device, command (empty where there is no experiment).
    """
    arms_and_runs.cache_clear()
    found = []
    for row in tables.published().itertuples():
        experiment = RUN_BY.get((row.place, row.dataset))
        arms, recorded = arms_and_runs(experiment, False) if experiment else ({}, {})
        ranges = row.policy == "range_ramp"
        each, known = recorded.get(row.arm, []), row.arm in arms
        finals = [run.final_accuracy for run in each if run.ended == "finished"]
        digits = 2 if row.dataset == "MNIST" else 1
        if ranges:
            bounds = RangeTest.from_runs(each).bounds() if each else None
            paper = f"{row.base_lr:g} to {row.max_lr:g}"
            ours = " to ".join(
                "–" if value is None else f"{value:.2g}"
                for value in ((bounds.base_lr, bounds.max_lr) if each else ())
            )
            ours = ours or "not run"
        else:
            paper = tables.percent(row.accuracy, row.sd, digits)
            ours = (_mean(finals, digits) if finals else "–") + _diverged(each)
            ours = ours if each else _why_not(row, known)
        found.append(
            {
                "place": row.place,
                "dataset": row.dataset,
                "model": row.model,
                "policy": row.policy,
                "setting": "" if pd.isna(row.setting) else row.setting,
                "paper": paper,
                "ours": ours,
                "accuracy": None if ranges else row.accuracy,
                "mean": float(np.mean(finals)) if finals and not ranges else None,
                "sd": float(np.std(finals, ddof=1)) if len(finals) > 1 and not ranges else None,
                "n": len(each),
                **_made(each),
                "command": _command(experiment, [row.arm], max(1, len(each))) if known else "",
            }
        )
    return found


CLAIMS = ["claim", "source", "paper", "ours", "n", "points", "verdict", "data", "device"]
NUMBERS = ["place", "dataset", "model", "policy", "setting", "paper", "ours", "n", "data"]


def table(rows: Sequence[dict], columns: Sequence[str]) -> pd.DataFrame:
    """`comparisons()` or `numbers()` in print, with some of their columns."""
    return pd.DataFrame(
        [
            {
                c: ", ".join(map(str, row[c])) if isinstance(row[c], list) else row[c]
                for c in columns
            }
            for row in rows
        ],
        columns=list(columns),
    )


def markdown(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """The same as a table in Markdown."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += table(rows, columns).astype(str).to_numpy().tolist()
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json() -> str:
    """Both, whole, as one JSON object."""
    return json.dumps({"claims": comparisons(), "published": numbers()}, indent=1)


def as_markdown() -> str:
    """Both as tables in Markdown, with the commands."""
    return (
        markdown(comparisons(), [*CLAIMS, "command"])
        + "\n\n"
        + markdown(numbers(), [*NUMBERS, "command"])
    )


def as_text() -> str:
    """Both for a terminal, by experiment and by place."""
    parts, every = [], comparisons()
    for protocol in JUDGED:
        rows = [row for row in every if row["experiment"] == protocol.experiment]
        made = {key: sorted({r[key] for r in rows} - {"–"}) for key in ("data", "device")}
        parts.append(
            f"{protocol.experiment}: {'; '.join(made['data'] + made['device']) or 'not run'}\n"
            + table(rows, CLAIMS[:-2]).to_string(index=False)
            + "\non the publisher's own data: python -m clr sweep "
            + f"--experiment {protocol.experiment} --seeds 3"
        )
    every = numbers()
    shown = [row for row in every if row["command"]]
    rest = len(every) - len(shown)
    parts.append("published numbers\n" + table(shown, NUMBERS).to_string(index=False))
    parts.append(
        f"{rest} more published numbers have no experiment here; --markdown lists them"
    )
    return "\n\n".join(parts)
