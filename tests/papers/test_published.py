import csv

import pytest

from clr.papers import EXPERIMENTS, published
from clr.papers.super_convergence import MNIST, SUPERCONVERGENCE_MORE
from clr.paths import ROOT


def test_published_numbers_are_fractions_with_a_source():
    with open(ROOT / "data" / "published.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({tuple(row.values()) for row in rows}) == len(rows) > 60
    for row in rows:
        assert row["source"] and (row["accuracy"] or (row["base_lr"] and row["max_lr"]))
        assert 0.5 < float(row["accuracy"] or 0.9) < 1 and 0 <= float(row["sd"] or 0) < 0.02
        assert row["place"].startswith({"1506.01186": "CLR", "1708.07120": "SC"}[row["paper"]])
        assert bool(row["experiment"]) == bool(row["arm"])
    assert len(published.numbers()) == len(rows)


def test_each_is_joined_to_the_arm_that_repeats_it():
    table1 = published.of(EXPERIMENTS["table1"])
    assert table1["accuracy"].to_dict() == {
        "fixed": 0.814, "triangular2": 0.814, "decay": 0.785, "exp": 0.791, "exp_range": 0.822,
    }  # fmt: skip
    mnist = published.of(MNIST)["accuracy"]
    assert len(mnist) == 6 and mnist["1cycle, 12 epochs"] == 0.9925
    more = published.of(SUPERCONVERGENCE_MORE)["accuracy"]
    assert len(more) == 12 and more["one cycle, 20,000 images"] == 0.879
    assert more["step, resnet20"] == 0.886
    ramp = published.of(EXPERIMENTS["range_test"]).loc["range ramp"]
    assert (ramp["base_lr"], ramp["max_lr"]) == (0.001, 0.006)
    assert published.of(EXPERIMENTS["laptop"]).empty


def test_every_number_names_an_experiment_and_an_arm_that_there_are():
    rows = published.numbers()
    for name, arm in zip(rows["experiment"], rows["arm"], strict=True):
        assert not name or arm in EXPERIMENTS[name].arms
    assert list(published.of(MNIST.only(["1cycle, 1 epoch", "inv"])).index) == ["inv"]


def test_every_accuracy_says_of_how_many_runs_it_is_the_mean():
    rows = published.numbers()
    assert (rows["runs"].notna() == rows["accuracy"].notna()).all()
    assert set(published.of(MNIST)["runs"]) == {4}  # SC Table 2 has means of four runs
    assert set(published.of(EXPERIMENTS["table1"])["runs"]) == {1}
    told = rows["setting"].str.contains("mean of 5 runs")
    assert (rows.loc[told, "runs"] == 5).all() and told.any()


def test_where_an_arm_is_to_be_as_published_there_is_a_number():
    for experiment in EXPERIMENTS.values():
        arms = {c.arm for c in experiment.claims if c.relation == "as published"}
        assert arms <= set(published.of(experiment)["accuracy"].dropna().index)


def test_two_numbers_for_one_arm_are_refused(tmp_path, monkeypatch):
    lines = published.PUBLISHED.read_text().splitlines()
    (tmp_path / "published.csv").write_text("\n".join([*lines, lines[1]]))
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published.csv")
    with pytest.raises(ValueError, match="one number per arm of table1"):
        published.of(EXPERIMENTS["table1"])
