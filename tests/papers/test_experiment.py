from collections import Counter
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from made import experiment, run

from clr.papers import EXPERIMENTS, Arm, by_name, claim, cyclical, super_convergence, worth_it
from clr.papers.experiment import MARGIN, OURS, WRITTEN, Claim, Experiment
from clr.papers.verdicts import judge
from clr.paths import ROOT
from clr.policies import Exp, Fixed
from clr.runs import Store

one = {name: each.configs(seeds=1) for name, each in EXPERIMENTS.items()}


def test_the_experiments_by_name():
    assert EXPERIMENTS["table1"] is cyclical.TABLE1
    for name, each in EXPERIMENTS.items():
        assert each.name == name and each.about.strip() and each.paper in ("CLR", "SC", "ours")


def test_the_papers_own_protocols_break_none_of_their_conditions():
    assert {name for name, each in EXPERIMENTS.items() if each.protocol != "ours"} == {
        "table1", "range_test", "table3", "solver_ranges", "figure6_full", "superconvergence",
        "superconvergence_more", "mnist",
    }  # fmt: skip
    for name in ("tenth", "laptop", "figure6_scaled", "superconvergence_short"):
        assert EXPERIMENTS[name].paper != "ours" and EXPERIMENTS[name].breaks


def test_mnist_changes_make_one_change_per_arm():
    arms = {name: config for name, (config,) in one["mnist_changes"].items()}
    half, long = arms.pop("1cycle, 85 epochs, half the rates"), arms.pop("1cycle, 85 epochs")
    assert [long] == one["mnist"]["1cycle, 85 epochs"] and half.iterations == long.iterations
    assert np.allclose(2 * half.policy(np.arange(9000)), long.policy(np.arange(9000)))
    first = arms.pop("1cycle, 12 epochs")
    assert [first] == one["mnist"]["1cycle, 12 epochs"] and len(arms) == 5
    for config in arms.values():
        values = first.to_dict()
        assert sum(values[name] != value for name, value in config.to_dict().items()) == 1


def test_mnist_ends_differ_in_the_shape_and_not_in_the_mean_or_the_end():
    arms = {name: config for name, (config,) in one["mnist_ends"].items()}
    assert [arms["inv"]] == one["mnist"]["inv"]
    cycle, fall = arms["1cycle, 25 epochs"], arms["falls once, 25 epochs"]
    assert [cycle] == one["mnist"]["1cycle, 25 epochs"] and fall.iterations == cycle.iterations
    t = np.arange(cycle.iterations + 1)
    assert max(cycle.policy(t)) == max(fall.policy(t)) == 0.1
    assert fall.policy(t).mean() == pytest.approx(cycle.policy(t).mean(), rel=0.01)
    assert fall.policy(fall.iterations) == 0 < cycle.policy(cycle.iterations) < 2e-5


def test_matched_ends_have_one_mean_and_one_end():
    arms = {name: arm for name, arm in EXPERIMENTS["matched_ends"].arms.items()}
    assert len(arms) == 10 and {arm.iterations for arm in arms.values()} == {4000}
    for name, arm in arms.items():
        low = 0.001 if "to 0.001" in name else 0.0
        rates = arm.policy(np.arange(4001))
        assert (rates.max(), rates[-1]) == (0.006, low)
        assert rates.mean() == pytest.approx((0.006 + low) / 2, rel=1e-3)
        assert arm.settings.get("shuffle", False) == name.endswith("shuffled")
    laptop = EXPERIMENTS["laptop"].config("triangular")
    assert EXPERIMENTS["matched_ends"].config("two cycles, to 0.001") == laptop


def test_all_schedules_of_the_sensitivity_have_their_peak_and_one_length():
    arms = EXPERIMENTS["sensitivity"].arms
    assert len(arms) == 7 * 6
    for name, arm in arms.items():
        rates = arm.policy(np.arange(4000))
        assert (arm.iterations, f"{rates.max():g}") == (4000, name.split(", ")[-1])
    at_end = {name: arm.policy(4000) for name, arm in arms.items() if name.endswith("0.002")}
    assert list(at_end.values()) == pytest.approx([0.002, 2e-5, 0, 0, 0, 0.002 / 6, 0])
    means = [arms[f"{name}, 0.002"].policy(np.arange(4001)).mean() for name in ("linear to 0",
             "cosine to 0", "two cycles, to 0")]  # fmt: skip
    assert means == pytest.approx([0.001] * 3, rel=1e-3)
    for (config,) in one["sensitivity"].values():
        assert (config.shuffle, config.validation_images) == (True, 5000)


def test_the_chosen_rates_are_compared_on_seeds_that_chose_nothing():
    fresh = worth_it.at_chosen_rates(dict.fromkeys(worth_it.schedules(1), 0.004), "two cycles")
    grid = EXPERIMENTS["sensitivity"].configs()
    seeds = {config.seed for each in grid.values() for config in each}
    for name, each in fresh.configs().items():
        assert [config.seed for config in each] == [3, 4, 5, 6, 7]
        assert not seeds & {config.seed for config in each}
        assert replace(each[0], seed=0) == grid[f"{name}, 0.004"][0]
    assert {claim.arm for claim in fresh.claims} == {"two cycles"}


def test_a_first_seed_below_0_is_refused():
    with pytest.raises(ValueError, match="first_seed must be .*got -1"):
        experiment(first_seed=-1)
    configs = experiment(first_seed=2).configs(seeds=3)
    assert [config.seed for config in configs["fixed"]] == [2, 3, 4]


def test_an_unknown_arm_in_a_claim_is_an_error_when_the_experiment_is_defined():
    says = "arm of the claim 'fixed better than steps' of table1 must be one of fixed, tri.*s'"
    with pytest.raises(ValueError, match=says):
        experiment(claims=[claim("fixed better than steps")])


@pytest.mark.parametrize("at", [15, 30, -10])
def test_a_claim_about_a_moment_that_is_not_tested_is_refused(at):
    with pytest.raises(ValueError, match="not tested; it is tested every 10 .* up to 20"):
        experiment(claims=[claim("fixed better than triangular2", at=at)])
    last = claim("fixed better than triangular2", at=25)
    assert experiment(iterations=25, claims=[last]).claims == (last,)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"paper": "Adam"}, "paper must be one of CLR, SC, ours; got 'Adam'"),
        ({"seeds": 0}, "seeds must be a whole number, at least 1; got 0"),
        ({"epoch": 1.5}, "epoch must be a whole number"),
        ({"dataset": "cifar11"}, "dataset must be one of digits.*; got 'cifar11'"),
        ({"settings": {"model": "lenet5"}}, "model must be one of .*; got 'lenet5'"),
        ({"arms": {}}, "arms must hold at least one arm"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, says):
    with pytest.raises(ValueError, match=says):
        experiment(**values)


def test_the_planned_seeds_are_an_arms_own_or_the_experiments():
    arms = {"a": Arm(Fixed(0.1), 20), "b": Arm(Fixed(0.2), 20, {"batch_size": 7}, seeds=1)}
    each = replace(experiment(seeds=3), arms=arms)
    planned = each.configs()
    assert {arm: [c.seed for c in configs] for arm, configs in planned.items()} == {
        "a": [0, 1, 2],
        "b": [0],
    }
    assert planned["b"][0].batch_size == 7 and planned["a"][0].test_every == 10
    assert len(each.configs(seeds=2)["b"]) == 2
    assert {c.dataset for c in each.configs(dataset="mnist")["a"]} == {"mnist"}


def test_a_claim_about_a_difference_needs_all_of_its_arms():
    asked = claim("b better than d", minus="a", other_minus="c")
    some = experiment(arms="abcd", claims=[asked])
    assert some.only("dcab").claims == (asked,) and some.only("abd").claims == ()
    (row,) = judge(some, {})
    assert row["command"].endswith("--arms b d a c")


def test_what_is_subtracted_counts_also_where_both_arms_are_the_same():
    asked = claim("a better than a", minus="b", other_minus="c")
    some = experiment(arms="abc", claims=[asked], seeds=3)
    ends = {"a": (0.7, 0.8, 0.9), "b": (0.1, 0.2, 0.4), "c": (0.3, 0.5, 0.5)}
    runs = {
        arm: [run([0.1, end, end], seed=seed) for seed, end in enumerate(values)]
        for arm, values in ends.items()
    }
    (row,) = judge(some, runs)
    assert row["difference"] == pytest.approx(0.2) and row["low"] < 0.2 < row["high"]


def test_only_keeps_the_claims_about_its_arms():
    claims = [
        claim("a better than b"),
        claim("a better than c"),
    ]
    some = experiment(arms="abc", claims=claims).only(["c", "a"])
    assert list(some.arms) == ["c", "a"] and some.claims == (claims[1],)
    with pytest.raises(ValueError, match="arm must be one of a, b, c; got 'd'"):
        experiment(arms="abc").only(["d"])


@pytest.mark.parametrize(
    ("sentence", "read"),
    [
        ("a better than b", ("a", "better than", "b")),
        (
            "a, to 0 not worse than b c, to 0.001",
            ("a, to 0", "not worse than", "b c, to 0.001"),
        ),
        ("a as good as a", ("a", "as good as", "a")),
        ("a, long as published", ("a, long", "as published", "a, long")),
    ],
)
def test_a_claim_is_read_from_a_sentence(sentence, read):
    made = claim(sentence, "CLR Table 1", "A statement", other_at=10, primary=True)
    assert (made.arm, made.relation, made.other) == read
    assert (made.source, made.statement) == ("CLR Table 1", "A statement")
    assert (made.at, made.other_at, made.margin, made.primary) == (None, 10, MARGIN, True)
    assert claim(sentence) == Claim(OURS, *read)


@pytest.mark.parametrize(
    "sentence",
    ["a like b", "a better than", "better than b", "a better than b as good as c",
     "a as published b", "a", ""],
)  # fmt: skip
def test_a_sentence_without_one_relation_between_two_arms_is_refused(sentence):
    with pytest.raises(ValueError, match="a claim must read 'ARM RELATION OTHER'.*better than"):
        claim(sentence)


def test_every_claim_says_when_it_was_written():
    assert claim("a better than b").written == "before"  # of a new experiment, too
    written = {
        name: Counter(each.written for each in experiment.claims)
        for name, experiment in EXPERIMENTS.items()
    }
    assert (
        set().union(*written.values()) == set(WRITTEN) == {"before", "one arm known", "after"}
    )
    # what `git log` showed once, and data/README.md says
    after = {"table1": 5, "tenth": 8, "at_chosen_rates": 3}
    known = {
        "table1": 10, "figure6": 2, "figure6_full": 1, "superconvergence_small": 3,
        "mnist_changes": 5, "mnist_ends": 2, "matched_ends": 2,
    }  # fmt: skip
    for name in {**after, **known, "laptop": 0, "solvers": 0, "mnist": 0}:
        found = written[name]["after"], written[name]["one arm known"]
        assert found == (after.get(name, 0), known.get(name, 0)), name
    text = (ROOT / "data" / "README.md").read_text()
    assert f"{sum(after.values())} claims stand" in " ".join(text.split())
    assert f"with {sum(known.values())} claims one arm was known" in " ".join(text.split())


def test_a_claim_about_second_statistics_needs_an_arm_that_has_them():
    settings = {"model": "resnet8", "test_every": 10}
    asked = claim("fixed as good as fixed", other_second=True)
    with pytest.raises(ValueError, match="claim 'fixed as good as fixed' .* second running"):
        experiment(claims=[asked], settings=settings)
    settings["second_bn_fraction"] = 0.9
    both = experiment(claims=[asked], settings=settings)
    assert both.columns(asked) == ("test_accuracy", "second_test_accuracy")
    assert replace(both, measure="loss").columns(asked) == ("test_loss", "second_test_loss")
    text = "fixed is as good as fixed with its other running statistics"
    assert both.text(asked) == text


def test_a_claim_as_a_sentence():
    asked = claim("fixed not worse than triangular2", at=10)
    text = "fixed (10) is not worse than triangular2 (20)"
    assert experiment(claims=[asked]).text(asked) == text
    ends = claim("fixed better than triangular2")
    assert experiment(claims=[ends]).text(ends) == "fixed is better than triangular2"
    middle = claim("fixed better than triangular2", at=10, other_at=10)
    text = "fixed (10) is better than triangular2 (10)"
    assert experiment(claims=[middle]).text(middle) == text
    alone = claim("fixed as published")
    assert experiment(claims=[alone]).text(alone) == "fixed (20) is as published"


def test_its_records_are_found_and_the_others_trained(store, monkeypatch):
    each = experiment(arms=["fixed"], settings={"model": "resnet8", "test_every": 10})
    store = Store(store)
    assert each.recorded(store) == {}
    assert [run.config.seed for run in each.runs(store.train, seeds=1)["fixed"]] == [0]
    assert [run.config.seed for run in each.recorded(store)["fixed"]] == [0]
    assert [run.config.seed for run in each.runs(store.train)["fixed"]] == [0, 1]


def test_the_data_with_the_most_records_is_taken():
    found = cyclical.TABLE1.most_recorded(Store.committed())
    names = {run.data["name"] for runs in found.values() for run in runs}
    assert names == {"folder:cifar10-jpeg"}
    assert cyclical.STEPSIZE.most_recorded(Store.committed())["stepsize 80"]
    assert experiment(name="nothing").most_recorded(Store.committed()) == {}


def test_a_throw_away_experiment_is_one_definition(monkeypatch):
    """Handed around as a value: no other place has to know of it."""
    from clr.papers import tables, verdicts

    asked = claim("a better than b")
    each = Experiment(
        name="throw_away",
        about="",
        paper="ours",
        dataset="digits",
        seeds=2,
        arms={"a": Arm(Fixed(0.1), 20), "b": Arm(Fixed(0.2), 20)},
        claims=(asked,),
    )
    assert tables.results(each, {})["ours, %"].tolist() == ["not run", "not run"]
    assert verdicts.table(each, {})["verdict"].tolist() == ["not run"]


# --- the papers' own protocols, against their numbers --------------------------------------


def test_the_papers_table_is_caffes_protocol():
    lengths = {label: config.iterations for label, (config,) in one["table1"].items()}
    assert lengths == {
        "fixed": 70_000, "triangular2": 25_000, "decay": 25_000, "exp": 70_000,
        "exp_range": 42_000, "triangular": 24_000, "triangular2, one stage": 24_000,
        "exp_range, stepsize 3,000": 42_000,
        "exp_range, amplitude only": 42_000, "cosine": 25_000, "step": 25_000,
        "triangular2, Welch": 25_000, "triangular2, Hann": 25_000,
        "triangular2, PyTorch's SGD": 25_000,
    }  # fmt: skip
    for label, (c,) in one["table1"].items():
        assert (c.model, c.batch_size) == ("cifar10_full", 100)
        assert c.optimizer == ("torch_sgd" if "PyTorch" in label else "sgd")
        assert (c.momentum, c.weight_decay, c.shuffle) == (0.9, 0.004, False), label
        assert not c.flip and c.policy(c.iterations) < 0.006
    planned = {arm: cyclical.TABLE1.plan(arm) for arm in lengths}
    rows = "fixed", "triangular2", "decay", "exp", "exp_range"
    assert planned == {arm: 5 if arm in rows else 3 for arm in lengths}


def test_exp_and_the_waves_of_table1():
    arms = {name: arm.policy for name, arm in cyclical.TABLE1.arms.items()}
    assert arms["exp"] == Exp(0.001, 0.99994)
    for arm, wave in (("Welch", "welch"), ("Hann", "hann")):
        assert {p.wave.__name__ for p, _ in arms[f"triangular2, {arm}"].stages} == {wave}
    ends = arms["exp_range, stepsize 3,000"]
    assert ends.period == 6000 and 42_000 % ends.period == 0


def test_the_tenth_is_the_papers_protocol_ten_times_shorter():
    full, short = one["table1"], one["tenth"]
    assert len(short) == 7 and set(short) < set(full)
    for label, (ours,) in short.items():
        (config,) = full[label]
        assert 10 * ours.iterations == config.iterations
        rates = ours.policy(np.arange(ours.iterations))
        same = config.policy(10 * np.arange(ours.iterations))
        np.testing.assert_allclose(rates, same, rtol=1e-9, err_msg=label)
        differ = {"policy", "iterations", "test_every"}
        assert all(
            value == getattr(ours, name)
            for name, value in vars(config).items()
            if name not in differ
        )
    moments = {(c.at, c.other_at) for c in cyclical.TENTH.claims}
    assert moments == {(None, None), (2000, 2200), (None, 2500)}


def test_the_laptop_protocol_gives_the_fixed_rate_three_times_as_long():
    arms = {label: c for label, (c,) in one["laptop"].items()}
    lengths = {label: c.iterations for label, c in arms.items()}
    assert lengths == dict.fromkeys(arms, 4000) | {"fixed": 12_000}
    for label, c in arms.items():
        assert (c.weight_decay, c.shuffle, c.batch_size) == (0.004, False, 100)
        if "triangular" in label:
            assert c.policy([0, 1000, 2000]).tolist() == [0.001, 0.006, 0.001]


def test_superconvergence_has_the_settings_of_the_authors_logs():
    full, small = dict(one["superconvergence"]), dict(one["superconvergence_small"])
    (ramp,) = small.pop("range ramp")
    assert ramp.policy([0, 600]).tolist() == [0, 3] and ramp.iterations == 600
    # in the full protocol each arm is also tested with the other arm's moving average
    for arm, other in (("one cycle", "step's"), ("step", "cycle's")):
        (own,), (exchanged,) = small[arm], small.pop(f"{arm}, the {other} statistics")
        assert replace(own, bn_fraction=exchanged.bn_fraction) == exchanged
        (both,) = full[arm]
        assert (both.bn_fraction, both.second_bn_fraction) == (
            own.bn_fraction,
            exchanged.bn_fraction,
        )
    assert sorted(full) == sorted(small)
    for arms, model, cycle in ((full, "resnet56", 10_000), (small, "resnet8", 600)):
        (once,), (step,) = arms["one cycle"], arms["step"]
        assert (once.model, once.iterations, step.iterations) == (model, cycle, 8 * cycle)
        assert once.policy([0, cycle // 2, cycle]).tolist() == [0.1, 3.0, 0.1]
        (low,), (zero,) = arms["one cycle, up to 0.35"], arms["one cycle, down to 0"]
        assert low.policy([0, cycle // 2, cycle]).tolist() == [0.1, 0.35, 0.1]
        assert zero.policy([0, cycle // 2, cycle]).tolist() == [0.0, 3.0, 0.0]
        drops = [5 * cycle - 1, 5 * cycle, 7 * cycle]
        assert step.policy(drops).tolist() == pytest.approx([0.35, 0.035, 0.0035])
        for arm, (c,) in arms.items():
            times = 8 if arm.startswith("step") and "squ" not in arm else 1
            assert c.iterations == times * cycle
            assert c.ghost_batch == (None if "whole" in arm else 125) and c.flip
            assert c.weight_decay == 0.0001
            assert c.bn_fraction == (0.999 if arm == "step" else 0.95), arm


def test_superconvergence_more_varies_the_two_arms_of_the_figure():
    both, more = one["superconvergence"], one["superconvergence_more"]
    variants = {name.split(", ", 1)[1] for name in more if not name.startswith("range")}
    assert len(variants) == 6 and len(more) == 2 + 2 * 6
    for variant in variants:
        for arm in ("one cycle", "step"):
            (found,), (expected,) = more[f"{arm}, {variant}"], both[arm]
            if variant.endswith(" images"):
                differs = {"train_images": int(variant.split()[0].replace(",", ""))}
            else:
                parts = 8 * ({"resnet20": 125, "resnet110": 100}[variant])
                differs = {"model": variant, "batch_size": parts, "ghost_batch": parts // 8}
            assert found == replace(expected, second_bn_fraction=None, **differs)
    for n in (5000, 20_000):
        (ramp,) = more[f"range ramp, {n:,}"]
        assert ramp.iterations == n and ramp.policy([0, n]).tolist() == [0, 3]
        assert ramp.bn_fraction == 0.95


def test_mnist_is_the_papers_table_2():
    arms = {arm: config for arm, (config,) in one["mnist"].items()}
    lengths = {arm: config.iterations for arm, config in arms.items()}
    assert lengths["inv"] == lengths["step"] == 10_000  # 85 epochs of 117.2
    assert lengths["1cycle, 12 epochs"] == 1406 and lengths["1cycle, 1 epoch"] == 117
    ups = {n: arms[f"1cycle, {n} epochs"].policy.stepsize for n in (85, 50, 25, 12)}
    assert ups == {85: 4688, 50: 2695, 25: 1406, 12: 586}
    for arm, c in arms.items():
        assert (c.model, c.batch_size, c.weight_decay) == ("lenet", 512, 0.0005)
        assert not c.subtract_mean and (c.momentum_policy is None) == ("1cycle" not in arm)
        if c.momentum_policy:
            up = c.policy.stepsize
            low = 0.02 if arm == "1cycle, 85 epochs" else 0.01
            knots = [float(c.policy(t)) for t in (0, up, 2 * up)]
            assert knots == pytest.approx([low, 10 * low, low / 1000])
            assert (c.momentum_policy(0), c.momentum_policy(up)) == (0.95, 0.8)
            assert 2 * up < c.iterations
    assert {c.margin for c in super_convergence.MNIST.claims} == {0.0005}


@pytest.mark.parametrize("margin", [float("nan"), -1, float("inf")])
def test_a_margin_is_finite_and_at_least_0(margin):
    with pytest.raises(ValueError, match="margin must be finite and at least 0; got"):
        claim("a better than b", margin=margin)


@pytest.mark.parametrize("field", ["relation", "written"])
def test_a_claim_with_an_unknown_relation_or_time_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be one of .*; got 'befor'"):
        replace(claim("a better than b"), **{field: "befor"})


@pytest.mark.parametrize("seeds", [-1, 0, 1.5])
def test_the_planned_seeds_of_an_arm_are_at_least_1(seeds):
    with pytest.raises(ValueError, match="seeds must be a whole number, at least 1; got"):
        Arm(Fixed(0.1), 10, seeds=seeds)


def test_two_experiments_with_one_name_are_refused():
    first, second = ModuleType("first"), ModuleType("second")
    first.ONE = experiment(name="one")
    second.ALSO = first.ONE  # imported
    assert by_name((first, second)) == {"one": first.ONE}
    second.OTHER = experiment(name="one", arms="abc")
    with pytest.raises(ValueError, match="name must be .* second has a second 'one'"):
        by_name((first, second))
