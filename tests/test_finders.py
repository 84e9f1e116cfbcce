"""What README and the appendix say about finders of the rate is what data/finders.csv says."""

import pandas as pd
import pytest
from scipy import stats

from clr.paths import ROOT

ROWS = pd.read_csv(ROOT / "data" / "finders.csv")
SCHEDULES = ["triangle", "linear to 0", "constant"]
REGRET = 100 * ROWS.groupby(["part", "finder", "task"])[SCHEDULES].mean().stack()
OURS = "ours: peak"
# they know roughly where the answer is, or take 600 steps
KNOWING = {
    *(
        f"linear ramp, end {end}"
        for end in ("good: max_lr", "good: max_lr/3", "good: minimum/3")
    ),
    "linear ramp, end 10 times too high: max_lr",
    "linear ramp, end too low: max_lr",
    "six short trainings",
}


def test_readme_says_how_good_the_peak_is():
    judged = REGRET["again"]
    assert judged[OURS].groupby("task").ngroups == 6
    means = judged.groupby("finder").mean().drop(KNOWING).sort_values()
    first, second = means.index[:2]
    assert first == OURS
    said = " ".join((ROOT / "README.md").read_text().split())
    lost = f"lost {means[first]:.1f} % of the improvement"
    assert f"at `peak` (with a triangle, a linear fall and a constant rate) {lost}" in said
    assert f"and {judged[OURS].max():.1f} % in the worst case" in said
    assert f"the best one loses {means[second]:.1f} %, which six tasks cannot tell from" in said
    assert f"fastai's default {means['fastai valley']:.1f} %" in said
    by_task = [judged[name].groupby("task").mean() for name in (first, second)]
    assert stats.ttest_rel(*by_task).pvalue > 0.05


@pytest.mark.parametrize("task", ["counts, SGD", "answers, plain SGD"])
def test_the_appendix_says_where_the_peak_fails(task):
    lost = REGRET["again"][OURS].groupby("task").mean().sort_values(ascending=False)
    assert list(lost.index[:2]) == ["counts, SGD", "answers, plain SGD"]
    here = ROWS[ROWS["task"] == task].assign(lost=ROWS[SCHEDULES].mean(axis=1))
    ours = here[here["finder"] == OURS]
    better = here[(here["rate"] > ours["rate"].max()) & (here["lost"] < ours["lost"].min())]
    assert len(better)
    counts = ROWS[ROWS["finder"] == OURS].groupby("part")["task"].nunique()
    assert counts.to_dict() == {"design": 7, "judged": 6, "again": 6}
