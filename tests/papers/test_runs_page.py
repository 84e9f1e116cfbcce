"""The page of all runs: every record, its command, and what a reader does with it."""

import json
import re
import shlex

import browser
import numpy as np
import pytest
from made import run

from clr.papers import EXPERIMENTS, runs_page
from clr.paths import RECORDED
from clr.policies import Decay, Fixed, Stages
from clr.runs import Run, Store, run_name
from clr.training import RunConfig


@pytest.fixture(scope="module")
def runs():
    return runs_page.recorded(Store.committed())


@pytest.fixture(scope="module")
def content(runs):
    return runs_page.content(runs)


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "runs.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_page, "recorded", lambda store: runs)
        assert runs_page.write(path) == path
    return path.read_text()


def rows(content):
    return [dict(zip(content["keys"], row, strict=True)) for row in content["runs"]]


def config_of(code):
    """What the code of a run gives."""
    start, _, last = code.rpartition("; ")
    names = {}
    exec(start, names)
    return eval(last, names)


def test_every_record_is_on_the_page(runs, content):
    names = {path.stem for path in RECORDED.rglob("*.json") if "-seed" in path.name}
    assert {row["name"] for row in rows(content)} == names and len(content["runs"]) == len(runs)


def test_curves_and_results_are_the_records(runs, content):
    for one, row in zip(runs, rows(content), strict=True):
        history = one.history.set_index("iteration")
        times = content["shared"]["t"][row["t"]]
        column, scale = ("test_loss", 100) if row["loss"] else ("test_accuracy", 1000)
        values = history[column].loc[list(times)]
        assert np.allclose(np.array(row["values"]) / scale, values, atol=0.5 / scale)
        result = f"loss {values.iloc[-1]:.3f}" if row["loss"] else one.outcome
        assert row["result"] == result and row["seed"] == one.config.seed
        assert content["shared"]["data"][row["data"]] == one.config.source.title
        assert content["shared"]["device"][row["device"]] == one.provenance["device"]
        if not one.diverged:
            assert times[-1] == one.config.iterations


def test_the_arms_of_a_run_train_it(runs, content):
    for one, row in zip(runs, rows(content), strict=True):
        for name, arm in (content["arms"][place] for place in row["arms"]):
            if name != runs_page.NOTEBOOKS:
                planned = EXPERIMENTS[name].config(arm, one.config.seed, one.config.dataset)
                assert planned == one.config


def test_the_command_of_each_run_trains_its_config(runs):
    for one in runs:
        assert config_of(runs_page.code(one)) == one.config
        python, flag, code = shlex.split(runs_page.command(one))
        assert (python, flag) == ("python", "-c")
        compile(code, "command", "exec")
        assert code.startswith(runs_page.code(one).rpartition("; ")[0])


def test_a_config_is_written_out_with_what_differs():
    policy = Stages(((Fixed(0.1), 5), (Decay(0.0, 0.1, 5), 5)))
    config = RunConfig(policy, 10, seed=3, dataset="mnist", model="lenet")
    text = runs_page.written_out(config)
    assert text.startswith("RunConfig(Stages(stages=((Fixed(") and 'model="lenet"' in text
    assert "batch_size" not in text
    start = "from clr.policies import *; from clr.training import RunConfig; "
    assert config_of(start + text) == config


def test_a_run_that_no_experiment_plans_is_shown_too():
    one = run([0.1, 0.5, 0.0], ended="diverged at iteration 15")
    one.data["fingerprint"] = "0" * 64
    one.provenance.update(written="2026-01-01T00:00:00+00:00", commit=None)
    found = runs_page.content([one])
    (row,) = rows(found)
    assert found["arms"][row["arms"][0]] == (runs_page.NOTEBOOKS, "fixed")
    assert row["values"] == [100, 500] and row["result"] == "diverged at iteration 15"


def test_runs_that_are_compared_by_their_loss_show_it():
    experiment = EXPERIMENTS["again_rates"]
    config = experiment.config(next(iter(experiment.arms)))
    usual = run([0.1, 0.2, 0.3])
    history = usual.columns | {"test_loss": np.array([5.5, 2.254, 1.91])}
    data = {"name": "text", "fingerprint": "0" * 64, "train": 8, "test": 2, "classes": 256}
    made = usual.provenance | {"written": "2026-01-01T00:00:00+00:00", "commit": "abc"}
    one = Run(config, history, "finished", data, made, RECORDED)
    (row,) = rows(runs_page.content([one]))
    assert row["loss"] and row["values"] == [550, 225, 191] and row["result"] == "loss 1.910"


def test_the_page_is_one_small_file_that_loads_nothing(page):
    assert len(page.encode()) < 1_000_000
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    assert json.loads(data)["runs"]
    shown = page.replace(data, "")
    assert "{{" not in page and "//" not in re.sub(r"\n// .*|(?<=[;}]) +// .*", "", shown)
    assert re.findall(r'(?:src|href)="([^"$]*)', shown) == ["index.html", "#run-"]


def test_a_notebooks_link_leads_to_the_runs_of_an_arm():
    link = runs_page.in_notebooks("laptop", "fixed & so")
    assert link == "../data/runs/README.md?experiment=laptop&arm=fixed+%26+so"


@browser.needed
def test_a_reader_finds_a_run(page, runs, tmp_path):
    body = re.search(r"<body>(.*)</body>", page, re.DOTALL)[1]
    one = next(
        each for each in runs if each.config.model == "resnet8" and runs_page.arms_of(each)
    )
    name = run_name(one.config, one.data["fingerprint"])
    act = f"""(() => {{
      const ids = [...document.querySelectorAll('tr.run[id]')].map(e => e.id);
      const link = document.querySelector('#run-{name} a');
      link.focus();
      const aside = document.querySelector('aside');
      const opened = !aside.hidden && aside.textContent.includes('{name}');
      const command = aside.querySelector('code').textContent;
      const form = document.querySelector('form');
      form.elements.experiment.value = 'laptop';
      form.elements.experiment.dispatchEvent(new Event('input', {{bubbles: true}}));
      const arms = [...form.elements.arm.options].map(e => e.value).filter(Boolean);
      return {{ids, opened, command, arms, count: document.querySelector('#count').textContent,
        unlabelled: [...form.elements].filter(e => e.name && !e.labels.length),
        requests: performance.getEntriesByType('resource').length}};
    }})()"""
    found = browser.result(body, act, tmp_path)
    names = [run_name(each.config, each.data["fingerprint"]) for each in runs]
    assert sorted(found["ids"]) == sorted(f"run-{each}" for each in names)
    assert found["opened"] and found["command"] == runs_page.command(one)
    assert set(found["arms"]) == set(EXPERIMENTS["laptop"].arms)
    of_laptop = [e for e in runs if any(x.name == "laptop" for x, _ in runs_page.arms_of(e))]
    assert found["count"] == f"{len(of_laptop)} of {len(runs)} runs"
    assert found["unlabelled"] == [] and found["requests"] == 0
