"""What notebook 3 and README say about single events of Table 1 is what its records say."""

import re

import numpy as np

from clr.papers import published, verdicts
from clr.papers.cyclical import TABLE1
from clr.papers.verdicts import Summary, holm, interval
from clr.paths import ROOT
from clr.runs import Store

README = " ".join((ROOT / "README.md").read_text().split())
PUBLISHED = published.of(TABLE1)
RUNS = TABLE1.recorded(Store.committed(), dataset="folder:cifar10-jpeg", by_name=True)


def at(arm, iteration=None):
    return 100 * Summary.of(RUNS[arm], iteration).mean


def test_before_its_first_drop_triangular2_is_hardly_ahead():
    fixed, decay = (at("triangular2", 16_000) - at(arm, 16_000) for arm in ("fixed", "decay"))
    assert 0.4 < fixed < 0.8 and 0.9 < decay < 1.3
    pair = ([run.accuracy_at(16_000) for run in RUNS[a]] for a in ("triangular2", "fixed"))
    low, high = interval(*pair)
    assert low < 0 < high


def test_readme_has_the_leads_before_and_after_the_drop():
    ends = at("triangular2") - at("fixed", 25_000), at("triangular2") - at("decay")
    before = [at("triangular2", 16_000) - at(arm, 16_000) for arm in ("fixed", "decay")]
    said = "leads of {:.1f} and {:.1f} points .* just before, they are {:.1f} and {:.1f}."
    assert re.search(said.format(*ends, *before), README)


def test_a_drop_is_worth_four_points():
    for arm, before in (("triangular2", 16_000), ("fixed", 60_000)):
        assert 3.5 < at(arm, before + 500) - at(arm, before) < 5


def test_decay_and_exp_range_are_almost_six_points_below_the_paper():
    for arm, theirs in (("decay", 78.5), ("exp_range", 82.2)):
        assert 5.5 < theirs - at(arm) < 6.2


def test_exp_range_is_hardly_below_the_fixed_rate_at_the_end_of_a_cycle():
    said = re.search(r"it is only ([\d.]+) points below the fixed rate", README)
    assert f"{at('fixed') - at('exp_range', 40_000):.1f}" == said[1]
    assert at("exp_range") < at("fixed") - 3


def test_exp_range_is_below_exp_and_above_it_at_the_end_of_a_cycle():
    table = verdicts.table(TABLE1, RUNS)
    row = table.loc["exp_range (42,000) is better than exp (70,000)"]
    assert row["verdict"] == "not reproduced" and len(RUNS["exp"]) == 5
    assert 1.75 < at("exp") - at("exp_range") < 2.25
    assert 0.7 < at("exp_range", 40_000) - at("exp") < 1.3
    gaps = [100 * row["accuracy"] - at(arm) for arm, row in PUBLISHED.iterrows()]
    assert round(min(gaps)) == 1 and 5.5 < max(gaps) < 6.2


def test_the_headline_survives_holm_only_while_most_claims_are_not_run():
    found = verdicts.verdicts(TABLE1, RUNS)
    assert len(found) == 16 and found[0].survives and found[0].word == "not reproduced"
    levels = [1.0 if np.isnan(each.level) else each.level for each in found]
    assert not holm(levels)[0]
