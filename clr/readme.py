"""README.md's generated parts: the claims table and the list of modules with their lengths."""

from __future__ import annotations

import ast
import hashlib
import io

import pandas as pd

from clr import files, scoreboard
from clr.paths import ROOT

README, FIGURE = ROOT / "README.md", ROOT / "data" / "headline.png"
HEADLINES = "Table 1", "abstract", "Fig. 1a", "Table 2"  # what the papers are known for


def claims_part() -> str:
    """The papers' main claims that have runs, with their verdicts, and a count of all."""
    every = scoreboard.comparisons(committed=True)
    shown = [
        {
            "claim": row["claim"],
            "protocol": row["experiment"],
            "paper, %": row["paper"],
            "ours, % (n)": f"{row['ours']} ({', '.join(map(str, row['n']))})",
            "difference": row["points"],
            "verdict": row["verdict"].replace("not", "**not**"),
        }
        for row in every
        if row["verdict"] != "not run" and row["source"].split(" ", 1)[1] in HEADLINES
    ]
    columns = ["claim", "protocol", "paper, %", "ours, % (n)", "difference", "verdict"]
    lines = [scoreboard.markdown(shown, columns)]
    own = [row["source"].endswith("our control") for row in every]
    for what, wanted in (("What the papers claim", False), ("Our controls", True)):
        some = [row["verdict"] for row, mine in zip(every, own, strict=True) if mine == wanted]
        count = pd.Series(some).value_counts()
        counts = ", ".join(f"{n} {verdict}" for verdict, n in count.items())
        lines.append(f"{what}, {len(some)} comparisons: {counts}.")
    return "\n\n".join(lines)


def modules_part() -> str:
    """The package's modules: lines and the first sentence of the docstring."""
    lines = []
    for path in sorted((ROOT / "clr").glob("[a-z]*.py")):
        text = path.read_text(encoding="utf-8")
        first = ast.get_docstring(ast.parse(text)).splitlines()[0].rstrip(".").replace("`", "")
        lines.append(f"    clr/{path.name:<15} {len(text.splitlines()):>4}  {first}")
    return "\n".join(lines)


def _figure_runs() -> dict[str, dict]:
    """The runs that the figure shows: the paper's table and the protocol with several seeds."""
    shown = {
        "table1": ["fixed", "triangular2", "decay", "exp_range"],
        "laptop": ["fixed", "triangular", "cosine"],
    }
    found = {name: scoreboard.arms_and_runs(name, True)[1] for name in shown}
    return {
        name: {arm: found[name][arm] for arm in arms if arm in found[name]}
        for name, arms in shown.items()
    }


def figure_id() -> str:
    """What the figure is drawn from, as a hash of the histories; it is inside the PNG."""
    whole = hashlib.sha256()
    for arms in _figure_runs().values():
        for run in (run for each in arms.values() for run in each):
            whole.update(run.path.with_suffix(".csv").read_bytes())
    return whole.hexdigest()


def draw():
    """The headline figure: accuracy along the runs of `table1` and of `laptop`."""
    from clr import plots

    runs = {name: arms for name, arms in _figure_runs().items() if arms}
    figure, axes = plots.plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    for ax, (name, arms) in zip(axes, runs.items(), strict=False):
        plots.histories(arms, ax=ax)
        if name == "table1":
            plots.published("CLR Table 1", arms, ax=ax)
        ax.set(ylim=(0.5, None), xlabel=f"iteration (protocol {name})")
    content = io.BytesIO()
    figure.savefig(content, metadata={"Records": figure_id()}, dpi=100)
    plots.plt.close(figure)
    files.write(FIGURE, content.getvalue())


PARTS = {"claims": claims_part, "modules": modules_part}


def text() -> str:
    """README.md as it should be. ValueError if one of the marks around its parts is missing."""
    whole = README.read_text(encoding="utf-8")
    for name, make in PARTS.items():
        begin = f"<!-- {name}: written by `python -m clr claims --readme` -->"
        end = f"<!-- end of {name} -->"
        if whole.count(begin) != 1 or whole.count(end) != 1:
            raise ValueError(f"README.md must hold {begin} and {end} once each")
        before, rest = whole.split(begin)
        whole = before + "\n\n".join([begin, make(), end]) + rest.split(end)[1]
    return whole


def write():
    """Bring README.md and its figure up to date with the records and the package."""
    draw()
    files.write(README, text().encode())
