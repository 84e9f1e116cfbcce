import json
import shlex
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from clr import files
from clr.papers import EXPERIMENTS, chapters, published, scoreboard, widgets
from clr.papers import statements as says
from clr.papers.cyclical import TABLE1, TENTH
from clr.papers.super_convergence import MNIST
from clr.paths import ROOT
from clr.printing import percent
from clr.runs import Store, record, run_name


@pytest.fixture(autouse=True)
def nothing_live(tmp_path, monkeypatch):
    """Only what is committed."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "none"))


def test_a_comparison_is_what_the_records_say():
    row = next(r for r in scoreboard.comparisons() if r["experiment"] == "tenth")
    found = TENTH.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    ours, others = (
        [run.history["test_accuracy"].iloc[-1] for run in found[arm]]
        for arm in ("triangular2", "fixed")
    )
    assert row["claim"] == "triangular2 (2,500) is not worse than fixed (7,000)"
    assert row["difference"] == pytest.approx(sum(ours) / 3 - sum(others) / 3)
    assert row["low"] < row["difference"] < row["high"] < -0.005
    assert row["verdict"] == "worse" and row["n"] == [3, 3]
    assert row["ours"].startswith(percent(sum(ours) / 3, pd.Series(ours).std()))
    assert row["theirs"] == "–"  # the paper has no such length
    assert (row["protocol"], row["control"]) == ("ours", False)
    assert row["data"] == "CIFAR-10 (JPEG copy)" and row["device"].startswith("CPU")


def test_a_new_run_counts_at_once(tmp_path):
    copy = "folder:cifar10-jpeg"
    old = Store.committed().search(TABLE1.config("fixed", 0, copy))
    store = Store(tmp_path)

    def add(seed):
        """A record of that seed, made of seed 0's."""
        values = json.loads(old.path.read_text())
        values["config"]["seed"] = seed
        config, data = TABLE1.config("fixed", seed, copy), values["data"]
        name = run_name(config, data["fingerprint"])
        files.write(
            record.place(tmp_path, data["name"], config.model, name), record.as_json(values)
        )

    for seed in (0, 1):
        add(seed)
        rows = scoreboard.numbers(Store(store.folder))
        fixed = next(r for r in rows if r["command"].endswith("table1 --arms fixed"))
        assert fixed["n"] == seed + 1


def test_a_run_that_diverged_is_said():
    claims, numbers = scoreboard.comparisons(Store.committed()), scoreboard.numbers()
    claim = next(row for row in claims if row["claim"].startswith("1cycle, 85 epochs"))
    number = next(row for row in numbers if "85 epochs" in row["command"])
    ours = MNIST.recorded(Store.committed())["1cycle, 85 epochs"]
    whole = [run.final_accuracy for run in ours if not run.diverged]
    said = f" ({len(ours) - len(whole)} of {len(ours)} diverged)"
    assert 0 < len(whole) < len(ours) and min(whole) > 0.98
    assert f"{said} / " in claim["ours"] and claim["difference"] is None
    assert claim["verdict"] == "worse" and claim["points"] == said.strip(" ()")
    assert number["ours"].endswith(said) and number["n"] == len(ours)
    assert number["mean"] == pytest.approx(sum(whole) / len(whole))


def test_every_claim_and_every_published_number_has_a_row():
    rows, numbers = scoreboard.comparisons(), scoreboard.numbers()
    for name, experiment in EXPERIMENTS.items():
        assert len(experiment.claims) == sum(row["experiment"] == name for row in rows)
    assert len(numbers) == len(published.numbers())
    for row in numbers:
        assert (row["n"] == 0) == row["ours"].startswith("not run")
        assert row["dataset"] != "ImageNet" or row["ours"] == "not run: ImageNet"
        assert (row["command"] == "") == row["ours"].startswith("not run:")
    full = [r for r in rows if r["claim"] == "one cycle (10,000) is better than step (80,000)"]
    assert full[0]["theirs"] == "92.4 / 91.2" and full[0]["source"] == "SC Fig. 1a"


def test_each_command_names_arms_there_are():
    rows = [*scoreboard.comparisons(), *scoreboard.numbers()]
    commands = {row["command"] for row in rows if row["command"]}
    for command in commands:
        words = shlex.split(command)
        assert words[:5] == ["python", "-m", "clr", "sweep", "--experiment"]
        assert words[6] == "--arms" and set(words[7:]) <= set(EXPERIMENTS[words[5]].arms)
    command = command.replace("python", sys.executable, 1)
    done = subprocess.run(f"{command} --list", shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "runs recorded" in done.stdout


def test_without_a_record_its_rows_say_not_run(tmp_path):
    rows = scoreboard.comparisons(Store(tmp_path))
    assert {row["verdict"] for row in rows} == {"not run"}
    assert {row["n"] for row in scoreboard.numbers(Store(tmp_path))} == {0}
    assert rows[0]["ours"] == "not run / not run" and rows[0]["data"] == "–"


def test_json_markdown_and_text_hold_the_same(capsys):
    content = json.loads(scoreboard.as_json())
    claims = sum(len(experiment.claims) for experiment in EXPERIMENTS.values())
    assert len(content["claims"]) == claims
    for row in content["claims"]:
        if row["holds"] is not None and not any(row["diverged"]):
            assert row["low"] <= row["difference"] <= row["high"] and row["p"] < 0.05
        assert (row["holds"] is None) == (row["verdict"] in ("undecided", "not run"))
    lines = scoreboard.as_markdown().splitlines()
    assert len(lines) == 5 + len(content["claims"]) + len(content["published"])
    text = scoreboard.as_text()
    for row in content["claims"]:
        assert row["claim"] in text


def test_the_command_line_survives_a_closed_pipe():
    command = f"{sys.executable} -m clr claims --markdown | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("| claim | verdict |") and done.stderr == ""


def test_the_notebook_shows_what_the_records_say():
    notebook = nbformat.read(ROOT / "notebooks" / "07_scoreboard.ipynb", as_version=4)
    shown = [
        cell.outputs[0]["data"]["text/html"]
        for cell in notebook.cells
        if "widgets.claims_table(rows)" in cell.source
    ]
    html = widgets.claims_table(scoreboard.comparisons(Store.committed()))
    assert shown == [html], (
        "notebook 7 shows other claims or records than there are. A claim or a record that is "
        "new: make notebooks. A record that is gone: git checkout data/runs, or train it again "
        "with the command that `python -m clr claims --markdown` names; then make notebooks"
    )


def test_a_statement_is_one_row_with_the_papers_own_protocol():
    rows = scoreboard.comparisons(Store.committed())
    table = scoreboard.statements(rows)
    asked = {row["statement"] for row in rows if row["statement"]}
    assert set(table.index) == asked and table.index.is_unique
    row = table.loc[says.DECAY]
    own = row["at the paper's own protocol"]
    assert own.startswith("better, +6.") and "(" not in own
    assert table.loc[says.STEPSIZE, "at the paper's own protocol"] == "–"
    third = table.loc[says.THIRD, "at the paper's own protocol"].split("; ")
    assert [each.split(" (")[-1] for each in third] == ["triangular2)", "triangular)"]
    for statement in (says.SIGMOIDS, says.MNIST):  # one arm, several claims
        (said,) = table.loc[statement]
        named = [each.split(" (", 1)[-1] for each in said.split("; ")]
        assert len(set(named)) == len(named)
    nothing = scoreboard.statements(scoreboard.comparisons(Store(ROOT / "none")))
    assert nothing.loc[says.DECAY, "at the paper's own protocol"] == "not run"


def test_readme_says_what_some_claims_that_do_not_hold_depend_on():
    rows = scoreboard.comparisons(Store.committed())
    failed = {
        (row["arm"], row["other"])
        for row in rows
        if scoreboard.own(row) and not row["control"] and row["holds"] is False
    }
    assert {pair for pair in failed if pair[0] == "exp_range"} == {
        ("exp_range", "exp"),
        ("exp_range", "fixed"),
    }
    assert {pair for pair in failed if "Nesterov" in pair[0]} == {
        ("Nesterov, triangular", "Nesterov, fixed")
    }


def test_the_counts_are_of_every_claim_once():
    rows = scoreboard.comparisons(Store.committed())
    table = scoreboard.counts(rows)
    assert table.to_numpy().sum() == len(rows)
    asked = sum(row["control"] for row in rows)
    assert table.loc["questions of ours"].sum() == asked
    own = table.loc["claims, at the papers' own protocols"]
    assert own.sum() == sum(scoreboard.own(row) and not row["control"] for row in rows)
    assert own["hold"] >= 1
    answers = [row["verdict"] for row in rows if row["control"]]
    ours, words = table.loc["questions of ours"], ("better", "not worse", "as good")
    assert ours["hold"] == sum(map(answers.count, words)) >= 1
    words = "worse", "gain below the margin", "different"
    assert ours["do not hold"] == sum(map(answers.count, words)) >= 1


def test_markdown_shows_html_and_bars_as_text():
    found = pd.DataFrame({"device": ["<b>A&B</b> | 2"]})
    assert scoreboard.markdown(found).splitlines()[-1] == (
        "| &lt;b&gt;A&amp;B&lt;/b&gt; \\| 2 |"
    )


def test_what_notebook_7_says_it_saw():
    rows = scoreboard.comparisons(Store.committed())
    own = [row for row in rows if scoreboard.own(row)]
    third = {
        row["arm"]: round(100 * row["difference"], 1)
        for row in own
        if (row["paper"], row["relation"], row["holds"]) == ("CLR", "not worse than", False)
    }
    assert third == {"triangular2": -1.0, "triangular": -4.6, "Nesterov, triangular": -3.5}
    claims = [row for row in own if not row["control"]]
    assert sum(row["holds"] is None for row in claims) > len(claims) / 2
    others = {
        row["other"]: row
        for row in own
        if row["arm"] == "triangular2" and row["other"] in ("cosine", "step")
    }
    ahead = {other: round(100 * row["difference"], 1) for other, row in others.items()}
    assert ahead == {"cosine": 0.0, "step": 0.3} and others["step"]["verdict"] == "undecided"
    kept = [row["holds"] for row in claims if row["holm"] == "yes"]
    said = chapters.Box("07_scoreboard")._repr_markdown_()
    assert f"{kept.count(True)} still hold and {kept.count(False)} still do not" in said
