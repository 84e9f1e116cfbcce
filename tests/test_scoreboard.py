import json
import shlex
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from clr import runs, scoreboard, tables
from clr.experiments import EXPERIMENTS
from clr.notebooks import NOTEBOOKS


@pytest.fixture(autouse=True)
def nothing_live(tmp_path, monkeypatch):
    """Only what is committed."""
    monkeypatch.setenv("CLR_RUNS", str(tmp_path / "none"))
    scoreboard.arms_and_runs.cache_clear()
    yield
    scoreboard.arms_and_runs.cache_clear()


def test_a_comparison_is_what_the_records_say():
    row = next(r for r in scoreboard.comparisons() if r["experiment"] == "tenth")
    arms = EXPERIMENTS["tenth"][0]("folder:cifar10-jpeg", 3)
    ours, others = (
        [runs.recorded(c).history["test_accuracy"].iloc[-1] for c in arms[arm]]
        for arm in ("triangular2", "fixed")
    )
    assert row["claim"] == "triangular2 at 2,500 is not worse than fixed at 7,000"
    assert row["difference"] == pytest.approx(sum(ours) / 3 - sum(others) / 3)
    assert row["low"] < row["difference"] < row["high"] < -0.005
    assert row["verdict"] == "not reproduced" and row["n"] == [3, 3]
    assert row["ours"].startswith(tables.percent(sum(ours) / 3, pd.Series(ours).std()))
    assert row["paper"] == "–"  # the paper has no such length
    assert row["data"] == "CIFAR-10 (JPEG copy)" and row["device"].startswith("CPU")


def test_a_new_run_counts_at_once():
    def fixed():
        return next(r for r in scoreboard.numbers() if r["command"].endswith("--arms fixed"))

    before = fixed()["n"]
    (config,) = EXPERIMENTS["table1"][0]("folder:cifar10-jpeg", 5)["fixed"][4:]
    old = runs.recorded(EXPERIMENTS["table1"][0]("folder:cifar10-jpeg", 1)["fixed"][0])
    store = runs.live_store()
    store.mkdir()
    record = json.loads(old.path.read_text())
    record["config"]["seed"] = config.seed
    name = runs.run_name(config, record["data"]["fingerprint"])
    (store / f"{name}.json").write_text(json.dumps(record))
    (store / f"{name}.csv").write_bytes(old.path.with_suffix(".csv").read_bytes())
    assert fixed()["n"] == before + 1


def test_a_run_that_diverged_is_said():
    every = scoreboard.comparisons(committed=True), scoreboard.numbers()
    claim = next(row for row in every[0] if row["claim"].startswith("1cycle, 85 epochs"))
    number = next(row for row in every[1] if "85 epochs" in row["command"])
    ours = runs.found(EXPERIMENTS["mnist"][0]("mnist", 5), committed=True)["1cycle, 85 epochs"]
    (whole,) = [run.final_accuracy for run in ours if run.ended == "finished"]
    assert len(ours) == 2 and whole > 0.98
    assert "(1 of 2 diverged) / " in claim["ours"] and claim["difference"] < -0.4
    assert number["ours"] == f"{100 * whole:.2f} (1 of 2 diverged)"
    assert number["mean"] == whole and number["sd"] is None and number["n"] == 2


def test_every_claim_and_every_published_number_has_a_row():
    rows, numbers = scoreboard.comparisons(), scoreboard.numbers()
    for protocol in scoreboard.JUDGED:
        arms = EXPERIMENTS[protocol.experiment][0]("digits", 1)
        judged = [c for c in protocol.claims if c.arm in arms and c.other in arms]
        assert len(judged) == sum(r["experiment"] == protocol.experiment for r in rows) > 0
    assert len(numbers) == len(pd.read_csv(tables.PUBLISHED))
    for row in numbers:
        assert (row["n"] == 0) == row["ours"].startswith("not run")
        assert row["dataset"] != "ImageNet" or row["ours"] == "not run: ImageNet"
        assert (row["command"] == "") == row["ours"].startswith("not run:")
    full = [
        r for r in rows if r["claim"] == "one cycle at 10,000 is better than step at 80,000"
    ]
    assert full[0]["paper"] == "92.4 / 91.2" and full[0]["source"] == "SC Fig. 1a"


def test_each_command_names_arms_there_are():
    rows = [*scoreboard.comparisons(), *scoreboard.numbers()]
    commands = {row["command"] for row in rows if row["command"]}
    for command in commands:
        words = shlex.split(command)
        assert words[:5] == ["python", "-m", "clr", "sweep", "--experiment"]
        arms = EXPERIMENTS[words[5]][0]("digits", 1)
        assert words[6] == "--seeds" and words[8] == "--arms" and set(words[9:]) <= set(arms)
    command = command.replace("python", sys.executable, 1)
    done = subprocess.run(f"{command} --list", shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "runs recorded" in done.stdout


def test_without_a_record_its_rows_say_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RECORDED", tmp_path)
    rows = scoreboard.comparisons()
    assert {row["verdict"] for row in rows} == {"not run"}
    assert {row["n"] for row in scoreboard.numbers()} == {0}
    assert rows[0]["ours"] == "not run / not run" and rows[0]["data"] == "–"


def test_json_markdown_and_text_hold_the_same(capsys):
    content = json.loads(scoreboard.as_json())
    assert len(content["claims"]) == len(scoreboard.comparisons())
    for row in content["claims"]:
        if row["verdict"] in ("reproduced", "not reproduced"):
            assert row["low"] <= row["difference"] <= row["high"]
    lines = scoreboard.as_markdown().splitlines()
    assert len(lines) == 5 + len(content["claims"]) + len(content["published"])
    text = scoreboard.as_text()
    for row in content["claims"]:
        assert row["claim"] in text


def test_the_command_line_survives_a_closed_pipe():
    command = f"{sys.executable} -m clr claims --markdown | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("| claim | source |") and done.stderr == ""


def test_notebook_5_shows_what_the_records_say():
    notebook = nbformat.read(NOTEBOOKS / "05_scoreboard.ipynb", as_version=4)
    shown = [
        cell.outputs[0]["data"]["text/html"]
        for cell in notebook.cells
        if cell.source.startswith("scoreboard.table(rows")
    ]
    table = scoreboard.table(scoreboard.comparisons(), scoreboard.CLAIMS[:7])
    with pd.option_context("display.max_colwidth", None, "display.max_rows", None):
        html = table.set_index("claim")._repr_html_()
    assert shown == [html], (
        "notebook 5 shows other records than data/runs holds. A record that is gone: "
        "git checkout data/runs, or train it again with the command that "
        "`python -m clr claims --markdown` names; then make notebooks"
    )
