import pandas as pd
from made import experiment, run

from clr.papers import Arm, tables
from clr.policies import Fixed


def test_a_row_per_arm_also_when_it_was_not_run():
    arms = {"fixed": Arm(Fixed(0.1), 20), "exp_range": Arm(Fixed(0.2), 30)}
    every = arms | {"mine": Arm(Fixed(0.3), 20)}
    paper, own = experiment(name="table1", arms=every), experiment(name="mine", arms=every)
    runs = {"fixed": [run([0.1, 0.5, 0.8]), run([0.1, 0.5, 0.9])], "mine": [run([0.1, 0.4])]}
    table = tables.results(paper, runs)
    assert table.loc["fixed"].tolist() == [
        "70,000",
        "81.4",
        "20",
        "85.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}7.1",
        2,
        "2.0 h",
    ]
    assert table.loc["exp_range"].tolist() == [
        "42,000",
        "82.2",
        "30",
        "not run",
        0,
        "–",
    ]
    assert table.loc["mine"].tolist() == ["–", "–", "20", "40.0", 1, "2.0 h"]
    alone = tables.results(own, runs)
    assert list(alone.columns) == ["our iterations", "ours, %", "n", "time"]
    broken = run([0.1, 0.1], ended="diverged at iteration 3")
    table = tables.results(own, runs | {"mine": [broken]})
    assert table.loc["mine", "ours, %"] == "– (1 of 1 diverged)"


def test_times_of_two_devices_are_not_averaged():
    slow, fast, other = (run([0.1, 0.5]) for _ in range(3))
    fast.provenance.update(device="A GPU (x86_64)", seconds=20)
    other.provenance.update(device="A GPU (x86_64)", seconds=40)
    table = tables.results(experiment(arms="a", name="mine"), {"a": [slow, fast, other]})
    assert table.loc["a", "time"] == "30 s (A GPU) or 2.0 h (CPU)"


def test_accuracies_are_links_to_their_runs_also_after_a_choice_of_rows_and_columns():
    each = experiment(name="solvers", arms=("a & b", "c"))
    table = tables.results(each, {"a & b": [run([0.1, 0.5])]}).drop(columns="time")
    for shown in (table, table.loc[["a & b"]], table.rename_axis(None)):
        page = shown._repr_html_()
        assert (
            '<a href="../data/runs/README.md?experiment=solvers&amp;arm=a+%26+b">50.0</a>'
        ) in page
    assert "<a href" in tables.Folded(table, "All arms")._repr_html_()
    assert "<a href" not in pd.DataFrame(table).to_html()


def test_what_is_not_run_is_said_with_the_command():
    each = experiment(name="solvers", arms="abc", dataset="cifar10")
    said = tables.not_run(each, {"a": [run([0.1, 0.5])], "b": []})
    assert said == (
        "solvers: 2 of 3 arms are not run; this runs them on cifar10:\n"
        "python -m clr sweep --experiment solvers"
    )
    every = {arm: [run([0.1, 0.5])] for arm in "abc"}
    assert tables.not_run(each, every) == "solvers: all arms have runs"


def test_your_runs_are_compared_in_sentences_that_are_true_for_them():
    def said(a, b):
        runs = {"a": [run([0.1, end]) for end in a], "b": [run([0.1, end]) for end in b]}
        return tables.your_runs(runs, ("a", "b")).data.splitlines()[-1]

    assert "a ended 10.0 points above b. The 95 % interval" in said([0.5, 0.51], [0.4, 0.41])
    assert said([0.4], [0.5]) == (
        "Here, a ended 10.0 points below b. Without repeated runs, it cannot be told from chance."
    )
    equal = said([0.5, 0.5202], [0.5, 0.5198])
    assert equal.startswith("Here, a and b ended at the same accuracy, to 0.1 points.")
    assert equal.endswith("contains 0, so this can be chance.")
