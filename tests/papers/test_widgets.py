"""The widgets: their numbers are those of the records, and they need nothing but themselves."""

import itertools
import json
import re
from html.parser import HTMLParser

import browser
import matplotlib.pyplot as plt
import numpy as np
import pytest
from made import run

from clr.papers import published, scoreboard, widgets
from clr.papers.cyclical import LAPTOP, RANGE_TEST
from clr.papers.widgets import along, claims, explorer
from clr.papers.widgets.fragment import HERE, as_json, source
from clr.papers.worth_it import RATES, SENSITIVITY, curves, schedules
from clr.policies import Decay, Fixed, Triangular, known, policy_from_dict
from clr.range_test import RangeTest
from clr.runs import Store

ARMS = "fixed", "triangular", "triangular, Welch", "cosine"


@pytest.fixture(scope="module")
def laptop():
    return LAPTOP.only(ARMS).most_recorded(Store.committed())


@pytest.fixture(scope="module")
def ramps():
    return RangeTest.from_runs(RANGE_TEST.most_recorded(Store.committed())["range ramp"])


@pytest.fixture(scope="module")
def two_curves():
    names = ["constant", "two cycles"]
    arms = [arm for arm in SENSITIVITY.arms if arm.rsplit(", ", 1)[0] in names]
    return curves(SENSITIVITY.only(arms).most_recorded(Store.committed()), names, RATES)


@pytest.fixture(scope="module")
def paper():
    return tuple(published.of(RANGE_TEST).loc["range ramp", ["base_lr", "max_lr"]])


@pytest.fixture(scope="module")
def pages(laptop, ramps, two_curves, paper):
    shapes = {name: schedules(4000)[name](0.004) for name in two_curves}
    return {
        "explorer": widgets.policy_explorer(),
        "peak": widgets.peak_rate(two_curves, shapes, 4000),
        "reading": widgets.range_reading(ramps, paper),
        "along": widgets.rate_and_accuracy(laptop),
    }


def data_of(page):
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


class Addresses(HTMLParser):
    """Collects what a page loads, and its images' texts."""

    def __init__(self):
        super().__init__()
        self.loaded, self.alts, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.loaded += [
            v for k, v in attrs if k in ("src", "href", "srcset", "data", "action", "poster")
        ]
        if tag == "img":
            self.alts.append(values.get("alt"))
        if tag not in ("img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


NAMES = ["explorer", "peak", "reading", "along"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_loads_nothing_and_its_still_figure_has_a_text(pages, name):
    parser = Addresses()
    parser.feed(pages[name])
    assert parser.open == []
    assert [each[:26] for each in parser.loaded] == ["data:image/svg+xml;base64,"]
    assert len(parser.alts) == 1 and len(parser.alts[0]) > 20
    outside = re.sub(r"data:image[^\"]*", "", pages[name])
    for forbidden in (
        "http:",
        "https:",
        "//",
        "url(",
        "@import",
        "import(",
        "fetch",
        "XMLHttp",
    ):
        found = [line for line in outside.splitlines() if forbidden in line]
        if forbidden == "//":
            found = [line for line in found if not re.search(r"(^|\s)// ", line)]
        if forbidden == "url(":
            found = [line for line in found if "url(#" not in line]
        assert not found, forbidden


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_small_and_its_ids_are_made_in_the_page(pages, name):
    assert len(pages[name].encode()) < 60_000
    markup = re.sub(r"<script>.*?</script>", "", pages[name], flags=re.DOTALL)
    assert " id=" not in markup
    assert "{{" not in pages[name] and "undefined" not in markup


def test_the_same_widget_is_the_same_text():
    # else the check of the committed notebooks' outputs fails
    once = widgets.policy_explorer()
    with plt.rc_context({"axes.grid": True, "lines.linewidth": 7, "font.size": 3}):
        assert widgets.policy_explorer() == once
    other = widgets.policy_explorer(stepsize=1000)
    names = [
        re.search(r'data-clr-widget="(.*?)"', page)[1]
        for page in (widgets.policy_explorer(), other)
    ]
    assert names[0] != names[1]


def test_scripts_hold_no_result():
    # a number with four digits or three decimals would be one
    for script in HERE.glob("*.js"):
        code = re.sub(r"//.*|viewBox=\"[^\"]*\"", "", script.read_text())
        if script.name != "policies.js":  # `base_lr / 1000` is a part of 1cycle
            assert not re.findall(r"(?<![\w#])(?:\d{4,}|\d*\.\d{3,})(?!\w)", code), script.name


def test_data_cannot_end_its_script():
    assert json.loads(as_json({"a": "</script>"})) == {"a": "</script>"}
    assert "</" not in as_json({"a": "</script>"})
    with pytest.raises(ValueError):
        as_json({"a": float("nan")})


def test_the_explorer_knows_the_fields_of_its_policies(pages):
    data = data_of(pages["explorer"])
    listed = {name for kind in data["kinds"] for name in kind["policies"]}
    assert listed == {cls.name for some in explorer.KINDS.values() for cls in some}
    for kind in data["kinds"]:
        for name in kind["policies"]:
            cls = known()[name]
            assert kind["fields"] == explorer.fields_of(cls)
            assert data["classes"][name] == cls.__name__
    with pytest.raises(ValueError, match="kind must be one of"):
        widgets.policy_explorer(kind="sawtooth")
    with pytest.raises(ValueError, match="base_lr must not be above max_lr"):
        widgets.policy_explorer(base_lr=0.1, max_lr=0.01)


def test_the_bars_are_the_records(pages, two_curves):
    data = data_of(pages["peak"])
    assert data["rates"] == list(RATES)
    assert [each["name"] for each in data["schedules"]] == list(two_curves)
    for each in data["schedules"]:
        curve = two_curves[each["name"]]
        assert np.allclose(each["accuracy"], curve.test, rtol=0, atol=0.5e-5)
        assert each["failed"] == list(curve.failed)
    assert f"{sum(c.test.size for c in two_curves.values())} recorded runs" in data["note"]


def test_bars_need_curves_at_the_same_rates(two_curves):
    shapes = {name: Fixed(0.1) for name in two_curves}
    with pytest.raises(ValueError, match="curves must have the same rates"):
        widgets.peak_rate({}, {}, 4000)
    with pytest.raises(ValueError, match=r"start must be one of 0.0005, .*; got 0.003"):
        widgets.peak_rate(two_curves, shapes, 4000, start=0.003)


def test_the_reading_shows_the_recorded_curves_and_bounds(pages, ramps, paper):
    data, bounds = data_of(pages["reading"]), ramps.bounds()
    for shown, curve in zip(data["curves"], ramps.curves, strict=True):
        assert np.allclose(shown["lr"], curve["lr"], rtol=1e-5)
        assert np.allclose(shown["accuracy"], curve["test_accuracy"], rtol=0, atol=0.5e-5)
    readings = {each["name"]: tuple(each["bounds"]) for each in data["readings"]}
    assert readings.pop("the rule") == (bounds.base_lr, bounds.max_lr)
    assert readings.pop("the paper") == paper
    assert list(readings.values()) == list(bounds.seeds)


def test_a_test_that_cannot_be_read_is_refused(ramps):
    flat = [curve.assign(test_accuracy=0.1) for curve in ramps.curves]
    says = "test must be one that the rule can read.*no rise above the noise"
    with pytest.raises(ValueError, match=says):
        widgets.range_reading(RangeTest(flat, ramps.ended))


def test_rates_and_accuracies_are_the_records(pages, laptop):
    data = data_of(pages["along"])
    assert [each["name"] for each in data["arms"]] == list(laptop)
    for arm in data["arms"]:
        for shown, one in zip(arm["runs"], laptop[arm["name"]], strict=True):
            assert shown["seed"] == one.config.seed
            assert arm["t"] == one.history["iteration"].tolist()
            assert np.allclose(arm["lr"], one.history["lr"], rtol=1e-5)
            values = np.array(shown["accuracy"]) / data["scale"]
            assert np.allclose(values, one.history["test_accuracy"], rtol=0, atol=0.5e-4)
    dashes = {each["name"]: each["dash"] for each in data["arms"]}
    assert dashes["triangular"] == "" and dashes["triangular, Welch"] != ""


def test_the_last_test_of_a_diverged_run_is_left_out():
    bad = run([0.1, 0.5, 0.0], policy=Decay(0.0, 0.1, 20), ended="diverged at iteration 15")
    good = run([0.1, 0.5, 0.6], policy=Triangular(0.0, 0.1, 10))
    data = data_of(widgets.rate_and_accuracy({"a": [bad], "b": [good]}))
    lengths = [len(arm["runs"][0]["accuracy"]) for arm in data["arms"]]
    assert lengths == [2, 3] and data["scale"] == along.SCALE


def test_arms_that_have_no_runs_cannot_be_shown(laptop):
    with pytest.raises(ValueError, match="runs must hold at least one arm"):
        widgets.rate_and_accuracy({})
    with pytest.raises(ValueError, match="an arm in shown must be one of"):
        widgets.rate_and_accuracy(laptop, ["step"])


# --- in Chromium: the scripts show these numbers, and inputs have labels ---

VALUES = {
    "base_lr": [0.0, 0.001, 0.006],
    "max_lr": [0.006, 3.0],
    "stepsize": [1, 7, 2000],
    "stepsize_down": [None, 3, 500],
    "gamma": [0.5, 0.99994, 1.0],
    "wave": ["triangle", "welch", "hann"],
}
ITERATIONS = [0, 1, 2, 6, 7, 13, 14, 1999, 2000, 2001, 4000, 12_345, 20_000]


def grid():
    """Policies as dictionaries: every combination of some values of their fields."""
    for some in explorer.KINDS.values():
        for cls in some:
            names = explorer.fields_of(cls)
            if "triangular" in cls.name or "exp_range" in cls.name:
                names.append("stepsize_down")
            for values in itertools.product(*(VALUES[name] for name in names)):
                yield {"policy": cls.name} | dict(zip(names, values, strict=True))


@browser.needed
def test_the_formulas_in_javascript_are_the_packages(tmp_path):
    cases = list(grid())
    assert len(cases) > 500
    script = (
        f"(() => {{ {source('policies.js')} return {json.dumps(cases)}.map(p => "
        f"{ITERATIONS}.map(t => POLICIES[p.policy](p, t))); }})()"
    )
    found = browser.result("", script, tmp_path)
    for case, values in zip(cases, found, strict=True):
        expected = policy_from_dict(case)(np.array(ITERATIONS))
        assert values == pytest.approx(expected, rel=1e-12, abs=1e-15), case


ACT = """
const root = document.querySelector('.clr-widget');
const set = (selector, value) => {
  const input = root.querySelector(selector);
  if (input.type === 'radio' || input.type === 'checkbox') input.click();
  else {
    input.value = value;
    for (const name of ['input', 'change'])
      input.dispatchEvent(new Event(name, {bubbles: true}));
  }
};
const all = selector => [...root.querySelectorAll(selector)];
const values = selector => all(selector).map(e => Number(e.dataset.value));
const texts = selector => all(selector).map(e => e.textContent.trim());
"""


def act(page, steps, gives, folder, width=1000):
    """What a widget shows after some steps of a reader."""
    return browser.result(
        page, f"(() => {{ {ACT} {steps}; return {gives}; }})()", folder, width
    )


START = {"base_lr": 0.001, "max_lr": 0.006, "stepsize": 2000, "gamma": 0.99994}
CASES = [
    ("triangular", {"stepsize": 3000}),
    ("triangular", {"base_lr": 0.002, "max_lr": 0.01, "wave": "hann"}),
    ("triangular2", {"wave": "welch"}),
    ("exp_range", {"gamma": 0.9999}),
    ("one_cycle", {"stepsize": 5000}),
    ("decay", {"stepsize": 10_000, "wave": "hann"}),
    ("exp", {"gamma": 0.9999}),
    ("fixed", {"base_lr": 0.004}),
]


@browser.needed
def test_the_explorer_shows_the_packages_numbers(tmp_path):
    steps = "const seen = [];"
    for kind, fields in CASES:
        chosen = START | {"wave": "triangle"} | fields
        steps += f"set('[data-key=kind][value={kind}]');"
        steps += f"set('[data-key=wave][value={chosen.pop('wave')}]');"
        for name, value in chosen.items():
            steps += f"set('[data-key={name}]', {value});"
        steps += "set('.clr-at input', 7000);"
        steps += "seen.push([values('tbody td'), root.querySelector('code').textContent]);"
    page = widgets.policy_explorer(**START, iterations=20_000)
    every, found = np.arange(20_001), act(page, steps, "seen", tmp_path)
    for (kind, fields), (numbers, written) in zip(CASES, found, strict=True):
        policies = []
        for cls in explorer.KINDS[kind]:
            names = explorer.fields_of(cls)
            given = {k: v for k, v in (START | fields).items() if k in names}
            policies.append(policy_from_dict({"policy": cls.name} | given))
        assert written.splitlines() == [repr(policy) for policy in policies]
        rates = np.array([policy(every) for policy in policies])
        expected = [rates[:, 7000], rates.max(1), rates[:, :-1].mean(1), rates[:, -1]]
        assert numbers == pytest.approx(np.transpose(expected).ravel(), rel=1e-9)


@browser.needed
def test_the_bounds_push_each_other(tmp_path):
    found = act(
        widgets.policy_explorer(),
        "set('[data-key=base_lr]', 0.008)",
        "texts('[data-shown=base_lr], [data-shown=max_lr]')",
        tmp_path,
    )
    assert found == ["0.008", "0.008"]


@browser.needed
def test_bars_are_means_of_the_runs(pages, two_curves, tmp_path):
    # the slider is in octaves above the lowest rate
    found = act(
        pages["peak"],
        "const seen = []; for (const octave of [0, 3, 4.8]) { set('.clr-rate input', octave);"
        "seen.push([texts('.clr-now')[0], values('.clr-value')]); }",
        "seen",
        tmp_path,
    )
    assert [rate for rate, _ in found] == ["0.0005", "0.004", "0.014"]
    for rate, means in found:
        expected = [curve.at(float(rate)) for curve in two_curves.values()]
        assert means == pytest.approx(expected, abs=1e-5)


@browser.needed
def test_the_other_readings_are_seen_only_when_asked_for(pages, ramps, tmp_path):
    said = "texts('.clr-said')[0], texts('svg text').filter(t => t.includes(':'))"
    before, readings = act(
        pages["reading"], "set('[data-key=base_lr]', 0.001)", f"[{said}]", tmp_path
    )
    assert before == "You read 0.001 to 0.015." and readings == []
    folder = tmp_path / "again"
    folder.mkdir()
    after, readings = act(
        pages["reading"],
        "set('[data-key=base_lr]', 0.001); set('[data-key=max_lr]', 0.006);"
        "root.querySelector('button').click()",
        f"[{said}]",
        folder,
    )
    assert (
        "Compared with the paper, your base_lr is the same and your max_lr is the same" in after
    )
    bounds = ramps.bounds()
    assert f"the rule: {bounds.base_lr:.2g} to {bounds.max_lr:.2g}" in readings
    assert len(readings) == 3 + len(bounds.seeds)


def tabled(page, choice, iteration, folder):
    """The arms and accuracies in the table of a page, after a choice, at an iteration."""
    steps = f"{choice}; set('.clr-at input', {iteration})"
    return act(page, steps, "[texts('tbody th'), values('td[data-value]')]", folder)


@browser.needed
def test_the_table_has_the_means_at_the_iteration(pages, laptop, tmp_path):
    cosine = "set('[data-key=arm][value=cosine]')"
    names, means = tabled(pages["along"], cosine, 2500, tmp_path)
    assert names == ["fixed", "triangular", "cosine"]
    expected = [np.mean([run.accuracy_at(2500) for run in laptop[name]]) for name in names]
    assert means == pytest.approx(expected, abs=1e-4)


@browser.needed
def test_one_seed_can_be_seen_alone(pages, laptop, tmp_path):
    names, found = tabled(pages["along"], "set('select', '1')", 4000, tmp_path)
    expected = [laptop[name][1].accuracy_at(4000) for name in names]
    assert names == ["fixed", "triangular"] and found == pytest.approx(expected, abs=1e-4)


CHECKS = """(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  return {
    requests: performance.getEntriesByType('resource').map(e => e.name.slice(0, 5)),
    stills: all('.clr-still').length,
    unlabelled: all('.clr-widget :is(input, select)')
      .filter(e => !e.labels.length || !e.labels[0].textContent.trim()).map(e => e.outerHTML),
    groups: all('.clr-widget fieldset').filter(e => !e.querySelector('legend')).length,
    silent: all('.clr-widget svg')
      .filter(e => !e.hasAttribute('aria-hidden') && !e.getAttribute('aria-label')).length,
    live: all('.clr-widget').filter(e => !e.querySelector('output[aria-live]')).length,
    names: new Set(all('.clr-widget [name]').map(e => e.name)).size,
    ids: all('[id]').map(e => e.id),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
})()"""


@browser.needed
@pytest.mark.parametrize("width", [420, 1280])
def test_all_widgets_twice_on_one_page(pages, tmp_path, width):
    body = "".join(pages[name] for name in NAMES)
    # Chromium's window is at least 500 pixels wide
    found = browser.result(
        f'<div style="width:{width}px">{body}{body}</div>', CHECKS, tmp_path, width + 200
    )
    assert set(found["requests"]) <= {"data:"} and found["stills"] == 0
    assert found["unlabelled"] == [] and found["groups"] == 0
    assert found["silent"] == 0 and found["live"] == 0
    assert len(found["ids"]) == len(set(found["ids"]))
    assert found["names"] == 8  # groups of choices: three in the explorer, one along, twice
    assert found["overflow"] == 0


# --- the table of all claims, which is larger than the others ---


@pytest.fixture(scope="module")
def judged():
    return scoreboard.comparisons(Store.committed())


@pytest.fixture(scope="module")
def table(judged):
    return widgets.claims_table(judged)


def texts_of(table):
    """The rows of the widget's data, with their texts."""
    data = data_of(table)
    return [
        dict(zip(data["keys"], (data["texts"][i] for i in row), strict=True))
        for row in data["rows"]
    ]


def test_every_claim_is_in_the_table_as_it_was_judged(judged, table):
    shown = texts_of(table)
    assert [row["claim"] for row in shown] == [row["claim"] for row in judged]
    for row, was in zip(shown, judged, strict=True):
        assert (row["points"], row["n"], row["command"]) == (
            was["points"],
            was["n_text"],
            was["command"],
        )
        assert was["verdict"] in row["mark"] and ("*" in row["mark"]) == (was["holm"] == "no")
        answer = {True: "holds", False: "does not hold", None: was["verdict"]}[was["holds"]]
        assert row["answer"] == answer
    counts = scoreboard.counts(judged)
    kinds = [sum(row["kind"] == kind for row in shown) for kind in claims.KINDS]
    assert kinds == counts.sum(axis=1).tolist()
    with pytest.raises(ValueError, match="rows must hold at least one claim"):
        widgets.claims_table([])


def test_without_scripts_the_claims_that_are_run_are_a_folded_table(judged, table):
    parser = Addresses()
    parser.feed(table)
    assert parser.open == [] and parser.loaded == [] and len(table.encode()) < 100_000
    still = re.search(r'<details class="clr-still">.*?</details>', table, re.DOTALL)[0]
    run = [row for row in judged if row["verdict"] != "not run"]
    assert still.count("<tr") == 1 + len(run) and run[0]["points"] in still
    assert table == widgets.claims_table(judged)


@browser.needed
def test_claims_can_be_filtered_sorted_and_opened(judged, table, tmp_path):
    folders = [tmp_path / name for name in ("first", "filtered", "sorted", "all")]
    for folder in folders:
        folder.mkdir()
    said, rows = "root.querySelector('output').textContent", "texts('tbody th small')"
    own = [row for row in judged if scoreboard.own(row) and not row["control"]]
    first = act(table, "", f"[{said}, texts('tbody tr').length]", folders[0])
    assert first[0].startswith(f"{len(own)} of {len(judged)} claims: ")
    assert first[1] == len(own)
    mnist = [row["claim"] for row in own if row["experiment"] == "mnist" and row["statement"]]
    steps = "set('select[data-key=experiment]', 'mnist');"
    assert act(table, steps, rows, folders[1]) == mnist
    steps += "root.querySelector('[data-sort=points]').click();"
    aria = "root.querySelector('[aria-sort]').getAttribute('aria-sort')"
    gives = f"[texts('tbody td .strong'), {aria}]"
    in_order, direction = act(table, steps, gives, folders[2])
    numbers = [float(each) for each in in_order if each[0] in "+-" and len(each) > 1]
    assert numbers == sorted(numbers) and direction == "ascending"
    steps += "root.querySelector('[data-all]').click()"
    assert act(table, steps, "texts('tbody tr').length", folders[3]) == len(judged)


@browser.needed
@pytest.mark.parametrize("width", [420, 1280])
def test_the_table_of_claims_has_labels_and_fits_its_page(table, tmp_path, width):
    found = browser.result(
        f'<div style="width:{width}px">{table}{table}</div>', CHECKS, tmp_path, width + 200
    )
    assert found["requests"] == [] and found["stills"] == 0
    assert found["unlabelled"] == [] and found["groups"] == 0 and found["live"] == 0
    assert found["overflow"] == 0 and found["ids"] == ["result"]
