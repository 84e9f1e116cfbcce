"""What notebook 3 and README say about single events of Table 1 is what its records say."""

import nbformat
import numpy as np
import pandas as pd
import pytest

from clr.papers import published, verdicts
from clr.papers import statements as says
from clr.papers.cyclical import LAPTOP, TABLE1, TENTH
from clr.papers.verdicts import Summary, interval
from clr.paths import ROOT
from clr.runs import Store

README = " ".join((ROOT / "README.md").read_text().split())
PUBLISHED = published.of(TABLE1)
RUNS = TABLE1.recorded(Store.committed(), dataset="folder:cifar10-jpeg")


def at(arm, iteration=None):
    return 100 * Summary.of(RUNS[arm], iteration).mean


NOTEBOOK = " ".join(
    " ".join(cell.source.split())
    for cell in nbformat.read(ROOT / "notebooks" / "03_cifar10_policies.ipynb", 4).cells
)


def test_before_its_first_drop_triangular2_is_hardly_ahead():
    fixed, decay = (at("triangular2", 16_000) - at(arm, 16_000) for arm in ("fixed", "decay"))
    assert (f"{fixed:.1f}", f"{decay:.1f}") == ("0.6", "1.1")
    pair = ([run.accuracy_at(16_000) for run in RUNS[a]] for a in ("triangular2", "fixed"))
    low, high = interval(*pair)
    assert low < 0 < high


def test_a_drop_is_worth_four_points():
    for arm, before in (("triangular2", 16_000), ("fixed", 60_000), ("step", 21_000)):
        assert 3.5 < at(arm, before + 500) - at(arm, before) < 5


def test_decay_and_exp_range_are_almost_six_points_below_the_paper():
    for arm, theirs in (("decay", 78.5), ("exp_range", 82.2)):
        assert 5.5 < theirs - at(arm) < 6.2


def test_with_another_stepsize_exp_range_is_hardly_below_the_fixed_rate():
    longer = at("exp_range, stepsize 3,000")
    assert at("fixed") - longer == pytest.approx(0.5, abs=0.15)
    assert longer - at("exp") == pytest.approx(1, abs=0.25)
    assert at("exp_range") < at("fixed") - 3
    assert 2.75 < longer - at("exp_range") < 3.25
    assert 2.75 < 82.2 - longer < 3.25


def test_readme_has_the_ends_of_schedules_as_long_as_triangular2():
    assert f"they reach {at('cosine'):.1f} % and {at('step'):.1f} %" in README
    assert len({TABLE1.arms[arm].iterations for arm in ("triangular2", "cosine", "step")}) == 1


def test_a_rate_that_only_falls_does_as_well_as_triangular2():
    said = {(row["arm"], row["other"]): row for row in verdicts.judge(TABLE1, RUNS)}
    step, cosine = (said["triangular2", arm] for arm in ("step", "cosine"))
    assert (step["verdict"], cosine["verdict"]) == ("undecided", "gain below the margin")
    assert cosine["holm"] == "secondary" and abs(100 * cosine["difference"]) < 0.05
    numbers = [f"{100 * step[key]:.1f}" for key in ("difference", "low", "high")]
    assert numbers == ["0.3", "-0.1", "0.7"]
    rates = [TABLE1.arms[arm].policy(24_999) for arm in ("triangular2", "step", "cosine")]
    assert rates[0] == pytest.approx(rates[1], rel=0.01) and rates[2] < 1e-9
    assert 3.5 < at("triangular2") - at("triangular2, one stage") < 4.5
    assert (
        4.5 < at("fixed") - at("triangular") < 5
        and 0.75 < at("fixed") - at("triangular2") < 1.25
    )
    for arm in ("Welch", "Hann", "PyTorch's SGD"):
        name = f"triangular2, {arm}"
        pair = (name, "triangular2") if (name, "triangular2") in said else ("triangular2", name)
        assert said[pair]["verdict"] == ("as good" if arm == "Hann" else "undecided")
        assert 0.05 < abs(at(name) - at("triangular2")) < 0.35
    assert 2.55 < 81.4 - at("triangular2") < 2.65


def test_where_only_the_amplitude_shrinks_the_end_of_a_cycle_is_five_points_worse():
    paper, torchs = "exp_range", "exp_range, amplitude only"
    costs = [at(paper, t) - at(torchs, t) for t in (42_000, 40_000)]
    said = "it is {:.1f} to {:.1f} points worse in our runs of Table 1"
    assert said.format(*costs) in README
    low, _ = interval(*([r.accuracy_at(40_000) for r in RUNS[a]] for a in (paper, torchs)))
    assert 5 < at(paper, 40_000) - at(torchs, 40_000) < 6 and low > 0
    rates = [TABLE1.arms[arm].policy(40_000) for arm in (torchs, paper)]
    assert rates == pytest.approx([0.001, 0.0001], rel=0.1)


def test_exp_range_is_below_exp_and_above_it_at_the_end_of_a_cycle():
    table = verdicts.table(TABLE1, RUNS)
    row = table.loc["exp_range (42,000) is better than exp (70,000)"]
    assert row["verdict"] == "worse" and len(RUNS["exp"]) == 5
    assert 1.75 < at("exp") - at("exp_range") < 2.25
    assert 0.7 < at("exp_range", 40_000) - at("exp") < 1.3
    gaps = [100 * row["accuracy"] - at(arm) for arm, row in PUBLISHED.iterrows()]
    assert round(min(gaps)) == 1 and 5.5 < max(gaps) < 6.2


def test_at_equal_last_rates_the_cycles_are_ahead():
    leads = [
        at(cycle, 24_000) - at(other, 24_000)
        for cycle in ("triangular", "triangular2, one stage")
        for other in ("fixed", "decay")
    ]
    assert min(leads) > 0.9 and max(leads) < 2.6
    for arm in ("triangular", "triangular2, one stage", "fixed", "decay"):
        assert TABLE1.arms[arm].policy(24_000) == pytest.approx(0.001)


def test_in_tenth_triangular_is_ahead_without_drops():
    runs = TENTH.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
    cycle = Summary.of(runs["triangular"]).mean
    leads = [100 * (cycle - Summary.of(runs[arm], 2500).mean) for arm in ("fixed", "decay")]
    assert min(leads) > 5 and max(leads) < 7
    said = {(row["arm"], row["other"]): row for row in verdicts.judge(TENTH, runs)}
    step = said["triangular2", "step"]
    assert (step["verdict"], step["holm"]) == ("better", "secondary")


def test_which_ends_of_cycles_survive_holm():
    kept = []
    for each in (TABLE1, TENTH, LAPTOP):
        runs = each.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
        rows = verdicts.judge(each, runs)
        (row,) = [row for row in rows if row["statement"] == says.STOP]
        assert row["verdict"] == "better"
        kept += [each.name] * (row["holm"] == "yes")
    assert kept == ["tenth", "laptop"]


def on(device, arm):
    """The accuracies of an arm's runs on a kind of device, in percent."""
    runs = [run for run in RUNS[arm] if run.provenance["device"].startswith(device)]
    return [100 * run.final_accuracy for run in runs]


def test_which_arms_were_trained_on_a_gpu():
    for arm in ("fixed", "triangular2", "decay", "exp_range"):
        assert not on("NVIDIA", arm)
    controls = [arm for arm, each in TABLE1.arms.items() if each.seeds == 3]
    gpu = sum(len(on("NVIDIA", arm)) for arm in controls)
    assert len(controls) == 9 and gpu >= sum(len(RUNS[arm]) for arm in controls) - 1


def test_where_an_arm_was_trained_on_both_the_means_differ_by_up_to_half_a_point():
    pairs = [(on("CPU", arm), on("NVIDIA", arm)) for arm in RUNS]
    gaps = [np.mean(gpu) - np.mean(cpu) for cpu, gpu in pairs if cpu and gpu]
    assert len(gaps) == 2 and max(np.abs(gaps)) < 0.5


def test_the_headline_does_not_survive_holm():
    found = verdicts.judge(TABLE1, RUNS)
    primary = [row for row in found if row["primary"]]
    assert len(primary) == 9 and all(row["p"] is not None for row in primary)
    assert (found[0]["verdict"], found[0]["holm"]) == ("worse", "no")


def test_the_verdict_on_triangular_survives_holm():
    (row,) = [row for row in verdicts.judge(TABLE1, RUNS) if row["arm"] == "triangular"][:1]
    assert (row["statement"], row["verdict"], row["holm"]) == (says.THIRD, "worse", "yes")


def test_notebook_3_says_what_the_shorter_trainings_show():
    for each, cycle, third in (
        (TENTH, "triangular2", "worse"),
        (LAPTOP, "triangular", "undecided"),
    ):
        runs = each.recorded(Store.committed(), dataset="folder:cifar10-jpeg")
        said = {
            (row["arm"], row["relation"], row["other"]): row["verdict"]
            for row in verdicts.judge(each, runs)
        }
        assert said[cycle, "not worse than", "fixed"] == third
        assert said[cycle, "better than", "fixed"] == "better"
        assert said[cycle, "better than", "cosine"] == "worse"


def test_notebook_3_quotes_the_other_repository():
    others = pd.read_csv(ROOT / "data" / "others.csv")
    others = others[others["paper"] == "CLR"].set_index("arm")["accuracy"]
    quoted = (
        f"coxy1989/clr, got {100 * others['fixed']:.1f} % for the fixed rate, "
        f"{100 * others['triangular2']:.1f} % for triangular2 and "
        f"{100 * others['decay']:.1f} % for decay"
    )
    assert quoted in NOTEBOOK
