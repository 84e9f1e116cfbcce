"""The policies, and what a policy that is defined outside the package may rely on."""

import json
import math
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clr
from clr import checks
from clr import policies as p

LOW, HIGH = 0.001, 0.006
rates = st.floats(0, 10, allow_subnormal=False)
steps = st.integers(1, 10_000)
cycles = st.integers(0, 10_000)
waves = st.sampled_from(list(p.WAVES.values()))


@st.composite
def cyclical(draw, cls=p.Triangular, **more):
    low, high = sorted((draw(rates), draw(rates)))
    return cls(
        low, high, draw(steps), stepsize_down=draw(steps), wave=draw(waves),
        **{name: draw(s) for name, s in more.items()},
    )  # fmt: skip


GAMMA = st.floats(0.9, 1)
any_policy = st.one_of(
    rates.map(p.Fixed),
    st.builds(p.Exp, rates, GAMMA),
    st.builds(p.Inv, rates, GAMMA, st.floats(0, 2)),
    st.builds(lambda r: p.Step(r, (10, 200), 0.1), rates),
    st.builds(lambda r, s, w: p.Decay(r, 2 * r, s, wave=w), rates, steps, waves),
    cyclical(),
    cyclical(p.Triangular2),
    cyclical(p.ExpRange, gamma=GAMMA),
    cyclical(p.ExpRangeAmplitude, gamma=GAMMA),
    cyclical(p.ExpRangeCycle, gamma=GAMMA),
    st.builds(lambda r, s: p.OneCycle(r, 10 * r, s), rates, steps),
    st.builds(lambda r, n: p.WarmupLinear(r, 3 * n, warmup=n, past_end="hold"), rates, steps),
    st.builds(lambda r, n: p.WarmupCosine(r, n, past_end="cycle"), rates, steps),
    st.builds(
        lambda r, n, w: p.WarmupStableDecay(
            r, 9 * n, warmup=2 * n, decay=3 * n, wave=w, past_end="hold"
        ),
        rates,
        steps,
        waves,
    ),
    st.builds(lambda s: p.OneCycleMomentum(0.85, 0.95, s), steps),
    cyclical(p.Triangular2).map(lambda rate: p.CyclicalMomentum(0.8, 0.9, rate)),
    st.builds(lambda n: p.RangeRamp(0, 3, n, past_end="hold"), steps),
    st.builds(lambda n: p.ExponentialRangeRamp(0.01, 3, n, past_end="cycle"), steps),
    st.builds(
        lambda s: p.Stages(
            ((p.Triangular2(LOW, HIGH, s), 4 * s), (p.Fixed(LOW), 7)), past_end="hold"
        ),
        steps,
    ),
)


def test_the_examples_hold_every_policy_of_the_package():
    missing = {cls for cls in p.known().values() if cls.__module__ == p.__name__}

    @settings(max_examples=1000, database=None)
    @given(any_policy)
    def seen(policy):
        missing.discard(type(policy))

    seen()
    assert not missing


# --- knots by hand ---------------------------------------------------------------


def test_inv_is_caffes():
    policy = p.Inv(0.01, 0.0001, 0.75)
    assert policy(0) == 0.01
    assert policy(10_000) == pytest.approx(0.01 / 2**0.75, rel=1e-14)
    with pytest.raises(ValueError, match="power must be finite and at least 0; got -1"):
        p.Inv(0.01, 0.0001, -1)


def test_triangular_knots():
    policy = p.Triangular(LOW, HIGH, 2000)
    expected = {0: 0.001, 1000: 0.0035, 2000: 0.006, 3000: 0.0035, 4000: 0.001, 6000: 0.006}
    for t, lr in expected.items():
        assert policy(t) == pytest.approx(lr, rel=1e-15)
    assert policy(4_000_000 + 500) == pytest.approx(0.00225, rel=1e-14)


def test_triangular2_knots():
    policy = p.Triangular2(LOW, HIGH, 100)
    assert policy([100, 300, 500, 700]) == pytest.approx(
        [0.006, 0.0035, 0.00225, 0.001625], rel=1e-15
    )
    assert (policy([0, 200, 400, 600]) == LOW).all()


def test_the_three_readings_of_exp_range_at_the_iterations_where_they_differ():
    marks = [22_000, 40_000, 42_000]
    read = {
        cls: cls(LOW, HIGH, 2000, 0.99994)(marks)
        for cls in (p.ExpRange, p.ExpRangeAmplitude, p.ExpRangeCycle)
    }
    assert read[p.ExpRange] == pytest.approx([0.001603, 0.000091, 0.000483], abs=5e-7)
    assert read[p.ExpRangeAmplitude] == pytest.approx([0.002336, 0.001, 0.001402], abs=5e-7)
    assert read[p.ExpRangeCycle] == pytest.approx([0.005999, 0.001, 0.005997], abs=1e-6)
    # both bounds shrink: the trough is Caffe's exp
    assert read[p.ExpRange][1] == pytest.approx(p.Exp(LOW, 0.99994)(40_000), rel=1e-14)


def test_caffes_baseline_drops_are_exact():
    policy = p.Step(0.001, (60_000, 65_000))
    t = [0, 59_999, 60_000, 64_999, 65_000, 70_000]
    assert policy(t).tolist() == [0.001, 0.001, 0.0001, 0.0001, 0.00001, 0.00001]


def test_decay_of_the_paper():
    policy = p.Decay(0.001, 0.007, 4000)
    assert policy([0, 2000, 4000, 25_000]) == pytest.approx([0.007, 0.004, 0.001, 0.001])
    assert policy(0) == 0.007 and policy(4000) == 0.001
    cosine = p.Decay(0.0, 1.0, 100, wave=p.hann)
    assert cosine(25) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_waves():
    up = {w: p.Triangular(0, 1, 4, wave=w)([0, 1, 2, 3, 4]) for w in p.WAVES.values()}
    assert up[p.triangle] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert up[p.welch] == pytest.approx([0, 7 / 16, 0.75, 15 / 16, 1])
    assert up[p.hann] == pytest.approx([0, (2 - 2**0.5) / 4, 0.5, (2 + 2**0.5) / 4, 1])


def test_the_papers_table_2_is_three_stages():
    policy = p.Stages(
        (
            (p.Triangular2(0.001, 0.005, 2000), 16_000),
            (p.Triangular2(0.0001, 0.0005, 1000), 6_000),
            (p.Triangular2(0.00001, 0.00005, 500), 3_000),
        )
    )
    t = [0, 2000, 6000, 15_999, 16_000, 17_000, 22_000, 22_500, 25_000]
    assert policy(t) == pytest.approx(
        [0.001, 0.005, 0.003, 0.00100025, 0.0001, 0.0005, 0.00001, 0.00005, 0.00001]
    )
    assert policy.end == 25_000


def test_warmup_stable_decay():
    policy = p.WarmupStableDecay(0.1, iterations=1000, warmup=100, decay=200)
    t = [0, 50, 99, 100, 500, 800, 900, 999, 1000]
    assert policy(t) == pytest.approx([0, 0.05, 0.099, 0.1, 0.1, 0.1, 0.05, 0.0005, 0])
    assert policy(100) == policy(800) == 0.1 and policy(0) == policy(1000) == 0
    cosine = p.WarmupStableDecay(0.1, 1000, decay=200, wave=p.hann)  # without a warm-up
    assert cosine([0, 800]).tolist() == [0.1, 0.1] and cosine(1000) == 0
    assert cosine([850, 900]) == pytest.approx([0.05 * (1 + 0.5**0.5), 0.05])
    # what notebook 6 calls "constant, then linear"
    held = p.Stages(((p.Fixed(0.1), 800), (p.Decay(0.0, 0.1, 200), 200)))
    now = p.WarmupStableDecay(0.1, 1000, decay=200)(range(1001))
    assert now == pytest.approx(held(range(1001)), rel=1e-13)


@pytest.mark.parametrize("warmup", [0, 1, 100])
def test_a_warm_up_then_linear_or_cosine_to_0(warmup):
    n = 1000
    for cls, shape in (
        (p.WarmupLinear, lambda x: 1 - x),
        (p.WarmupCosine, lambda x: 0.5 * (1 + math.cos(math.pi * x))),
    ):
        policy = cls(0.1, n, warmup=warmup)
        expected = [
            0.1 * (t / warmup if t < warmup else shape((t - warmup) / (n - warmup)))
            for t in range(n + 1)
        ]
        assert policy(range(n + 1)) == pytest.approx(expected, rel=1e-12, abs=1e-17)
        assert policy(warmup) == 0.1 and policy(n) == 0 and policy.end == n
        with pytest.raises(ValueError, match="iteration 1001 is past the end of warmup_"):
            policy(n + 1)


def test_a_stage_of_0_iterations_is_passed_over():
    warm, after = p.RangeRamp(0.0, 0.1, 0), p.Fixed(0.1)
    policy = p.Stages(((warm, 0), (after, 10), (warm, 0)), past_end="cycle")
    assert policy(range(12)).tolist() == [0.1] * 12
    assert p.policy_from_dict(policy.to_dict()) == policy
    assert p.Stages(((after, 10), (p.Fixed(0.2), 0)))([9, 10]).tolist() == [0.1, 0.2]


def test_one_cycle_is_the_authors():
    base, top, size = 0.1, 1.2, 3417

    def rule(t):  # read off his logs
        if t <= size:
            return base + (top - base) * t / size
        return top * (2 * size - t) / size if t < 2 * size else base / 1000

    policy = p.OneCycle(base, top, size)
    t = np.arange(7081)
    assert policy(t) == pytest.approx([rule(i) for i in t], rel=1e-14)
    assert f"{policy(6800):.5f}" == "0.01194" and policy(6834) == policy(7080) == 0.0001
    assert policy(size) == top and policy(0) == base


def test_one_cycle_momentum_goes_the_other_way_and_half_as_deep_the_second_time():
    policy = p.OneCycleMomentum(0.85, 0.95, 100)
    assert policy([0, 100, 200, 300]) == pytest.approx([0.95, 0.85, 0.95, 0.90])
    assert policy(0) == policy(200) == 0.95 and policy(100) == 0.85
    logged = p.OneCycleMomentum(0.85, 0.95, 3417)(7000)
    assert f"{logged:.5f}" == "0.94757"  # printed in the author's log


@pytest.mark.parametrize(
    ("rate", "factors"),  # of the swing, at the tops of the first two cycles
    [
        (p.Triangular(LOW, HIGH, 10), (1, 1)),
        (p.Triangular2(LOW, HIGH, 10), (1, 0.5)),
        (p.ExpRange(LOW, HIGH, 10, 0.9), (0.9**10, 0.9**30)),
        (p.ExpRangeAmplitude(LOW, HIGH, 10, 0.9), (0.9**10, 0.9**30)),
        (p.ExpRangeCycle(LOW, HIGH, 10, 0.9), (1, 0.9)),
    ],
)
def test_cyclical_momentum_is_lowest_at_the_tops(rate, factors):
    momentum = p.CyclicalMomentum(0.8, 0.9, rate)
    assert momentum([0, 20, 40]).tolist() == [0.9, 0.9, 0.9]
    assert momentum([10, 30]) == pytest.approx([0.9 - 0.1 * each for each in factors])


def test_range_ramps():
    linear = p.RangeRamp(0.0, 3.0, 5000)
    assert linear([0, 2500, 5000]).tolist() == [0.0, 1.5, 3.0]
    exponential = p.ExponentialRangeRamp(1e-4, 1.0, 4)
    assert exponential([0, 1, 2, 3, 4]) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert exponential(0) == 1e-4 and exponential(4) == 1.0
    for past_end in ("hold", "cycle"):
        none = p.RangeRamp(0.0, 3.0, 0, past_end=past_end)
        assert none(range(3)).tolist() == [3.0, 3.0, 3.0]
        assert p.ExponentialRangeRamp(0.1, 3.0, 0, past_end=past_end)(1) == 3.0


# --- properties --------------------------------------------------------------------


@given(cyclical(), cycles)
def test_cycles_start_at_base_lr_and_peak_at_max_lr_exactly(policy, cycle):
    start = cycle * policy.period
    assert policy(start) == policy.base_lr
    assert policy(start + policy.stepsize) == policy.max_lr
    assert policy.cycle(start) == cycle


@given(cyclical(p.Triangular2), cycles)
def test_triangular2_halves_exactly_and_ends_at_base_lr(policy, cycle):
    start = cycle * policy.period
    swing = 0.5 ** min(cycle, 1074)
    expected = policy.base_lr * (1 - swing) + policy.max_lr * swing
    assert policy(start) == policy.base_lr
    assert policy(start + policy.stepsize) == pytest.approx(expected, rel=1e-15)
    assert policy(5000 * policy.period + policy.stepsize) == policy.base_lr


@given(
    st.one_of(
        cyclical(),
        cyclical(p.Triangular2),
        cyclical(p.ExpRangeAmplitude, gamma=GAMMA),
        cyclical(p.ExpRangeCycle, gamma=GAMMA),
    ),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=50),
)
def test_bounds_are_never_left(policy, t):
    lr = policy(t)
    assert (lr >= policy.base_lr).all() and (lr <= policy.max_lr).all()


@given(cyclical(p.ExpRange, gamma=GAMMA), st.lists(st.integers(0, 5000), min_size=1))
def test_both_bounds_of_exp_range_shrink(policy, t):
    shrunk = np.power(policy.gamma, t)
    lr = policy(t)
    assert (lr >= policy.base_lr * shrunk).all() and (lr <= policy.max_lr * shrunk).all()


@given(cyclical(), st.integers(0, 10**6), st.integers(0, 1000))
def test_period(policy, t, cycle):
    assert policy(t) == policy(t + cycle * policy.period)


@given(any_policy, st.lists(st.integers(0, 30_000), min_size=1, max_size=20))
def test_an_array_gives_what_its_items_give_and_dicts_bring_the_policy_back(policy, t):
    lr = policy(np.array(t))
    assert lr.shape == (len(t),) and lr.dtype == np.float64
    assert lr == pytest.approx([policy(i) for i in t], rel=1e-15, abs=0)
    assert np.array_equal(policy(np.array(t).reshape(1, -1)), lr[None])
    again = p.policy_from_dict(json.loads(json.dumps(policy.to_dict())))
    assert again == policy and hash(again) == hash(policy) and repr(again) == repr(policy)
    assert np.array_equal(again(t), lr)


# --- torch as the reference ------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "kwargs"),
    [
        (p.Triangular(LOW, HIGH, 2000), {"mode": "triangular"}),
        (p.Triangular(LOW, HIGH, 300, stepsize_down=701), {"step_size_down": 701}),
        (p.Triangular2(LOW, HIGH, 2000), {"mode": "triangular2"}),
        (
            p.ExpRangeAmplitude(LOW, HIGH, 2000, 0.99994),
            {"mode": "exp_range", "gamma": 0.99994},
        ),
        (
            p.ExpRangeCycle(LOW, HIGH, 500, 0.9),
            {"scale_fn": lambda c: 0.9 ** (c - 1), "scale_mode": "cycle"},
        ),
    ],
)
def test_equals_torch_where_both_mean_the_same(policy, kwargs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CyclicLR(
        optimizer, LOW, HIGH, policy.stepsize, cycle_momentum=False, **kwargs
    )
    rates = []
    for _ in range(10_000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert policy(np.arange(10_000)) == pytest.approx(rates, rel=1e-11)


@pytest.mark.parametrize(
    ("rate", "kwargs"),
    [
        (p.Triangular(LOW, HIGH, 300, stepsize_down=701), {"step_size_down": 701}),
        (p.Triangular2(LOW, HIGH, 200), {"mode": "triangular2"}),
        (p.ExpRangeAmplitude(LOW, HIGH, 200, 0.999), {"mode": "exp_range", "gamma": 0.999}),
    ],
)
def test_the_momentum_cycles_as_torchs(rate, kwargs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5)
    scheduler = torch.optim.lr_scheduler.CyclicLR(
        optimizer, LOW, HIGH, rate.stepsize, base_momentum=0.8, max_momentum=0.9, **kwargs
    )
    momenta = []
    for _ in range(3000):
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    ours = p.CyclicalMomentum(0.8, 0.9, rate)
    assert ours(np.arange(3000)) == pytest.approx(momenta, rel=1e-12)
    assert ours(0) == 0.9


# --- what is refused ---------------------------------------------------------------

nan = float("nan")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: p.Triangular(0.006, 0.001, 10), "base_lr=0.006, max_lr=0.001"),
        (lambda: p.Triangular(LOW, HIGH, 0), "stepsize must be .* at least 1; got 0"),
        (lambda: p.Triangular(LOW, HIGH, -5), "stepsize must be .* at least 1; got -5"),
        (lambda: p.Triangular(LOW, HIGH, nan), "stepsize must be .*; got nan"),
        (lambda: p.Triangular(LOW, HIGH, 2.5), "stepsize must be a whole number.*2.5"),
        (lambda: p.Triangular(LOW, HIGH, 10, stepsize_down=0), "stepsize_down must be"),
        (lambda: p.Triangular(nan, HIGH, 10), "base_lr must be finite .*; got nan"),
        (lambda: p.Triangular(-0.1, HIGH, 10), "base_lr must be .* at least 0; got -0.1"),
        (lambda: p.Triangular(LOW, math.inf, 10), "max_lr must be finite .*; got inf"),
        (lambda: p.Triangular(LOW, "0.006", 10), "max_lr must be a number.*; got '0.006'"),
        (lambda: p.Fixed("1e-4"), "got '1e-4' .YAML reads 1e-4 as text; write 0.0001.$"),
        (lambda: p.Fixed("0.1"), "got '0.1' .it came as text; write 0.1 without quotes.$"),
        (lambda: p.Fixed("high"), "got 'high'$"),
        (lambda: p.Triangular(True, HIGH, 10), "base_lr must be a number.*; got True"),
        (lambda: p.Triangular(LOW, HIGH, 10, wave=abs), "wave must be one of .*triangle"),
        (lambda: p.ExpRange(LOW, HIGH, 10, 1.5), "gamma must be above 0 .*; got 1.5"),
        (lambda: p.Exp(LOW, 0), "gamma must be above 0 and at most 1; got 0"),
        (lambda: p.Step(LOW, (20, 10)), "drops must be in rising order"),
        (lambda: p.RangeRamp(0.1, 0.1, 10), "base_lr must be below max_lr"),
        (lambda: p.RangeRamp(0.2, 0.1, 10), "base_lr must not be above max_lr"),
        (lambda: p.RangeRamp(0, 1, 10, past_end="stop"), "past_end must be one of raise"),
        (lambda: p.ExponentialRangeRamp(0, 1, 10), "base_lr must be above 0"),
        (lambda: p.OneCycleMomentum(0.9, 1.0, 10), "max_momentum must be .* below 1"),
        (lambda: p.CyclicalMomentum(0.9, 0.8, p.Triangular(0, 1, 5)), "base_momentum must not"),
        (
            lambda: p.CyclicalMomentum(0.8, 0.9, p.Fixed(0.1)),
            r"lr_policy must be a cyclical policy \(Triangular, .*; got Fixed",
        ),
        (lambda: p.Stages(()), "stages must be .policy, iterations. pairs"),
        (lambda: p.Stages(((p.Fixed(0.1), 0),)), "stages must be .*at least 1 long; got"),
        (lambda: p.Stages(((p.Fixed(0.1), -1),)), "stages must be .*at least 0; got -1"),
        (
            lambda: p.WarmupLinear(0.1, 10, warmup=10),
            "warmup must be below iterations, 10; got 10",
        ),
        (lambda: p.WarmupCosine(0.1, 10, warmup=-1), "warmup must be .*at least 0; got -1"),
        (
            lambda: p.WarmupStableDecay(0.1, 10, warmup=5, decay=6),
            r"warmup \+ decay must be at most iterations, 10; got 5 \+ 6",
        ),
        (lambda: p.Stages(((0.1, 5),)), "stages must be"),
        (
            lambda: p.Stages(((p.RangeRamp(0, 1, 15), 20), (p.Fixed(0.1), 10))),
            "iteration 19 is past the end of range_ramp at 15",
        ),
        (lambda: p.Step(0.1, 60_000), "drops must be whole numbers in rising order; got 60000"),
        (lambda: p.policy_from_dict({"policy": "sine"}), "policy must be one of fixed"),
        (lambda: p.Fixed(LOW)(-1), "iteration must be at least 0; got -1"),
        (lambda: p.Fixed(LOW)(1.0), "iteration must be an integer"),
        (lambda: p.RangeRamp(0, 1, 10)(11), "iteration 11 is past the end .* at 10"),
        (lambda: p.Fixed([LOW] * 100), "base_lr must be a number.*; got a value of type list"),
        (lambda: p.Fixed(10**400), "base_lr must be finite"),
        (lambda: p.Triangular(LOW, HIGH, 2**53 + 1), "stepsize must be a whole number"),
        (lambda: p.Stages(((p.Fixed, 5),)), "stages must be a clr Policy; got <class .*Fixed"),
        (lambda: p.policy_from_dict("fixed"), "a policy must be a dictionary; got 'fixed'"),
        (lambda: p.policy_from_dict({"policy": ["fixed"]}), "policy must be one of fixed"),
        (lambda: p.policy_from_dict({"policy": "fixed", "lr": 1}), "Fixed.* 'lr'"),
        (
            lambda: p.policy_from_dict({"policy": "triangular", "max_lr": 1}),
            "base_lr.*stepsize",
        ),
    ],
)
def test_bad_arguments_are_named(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_past_the_end():
    hold = p.RangeRamp(0, 1, 10, past_end="hold")
    assert hold([10, 11, 99]).tolist() == [1, 1, 1]
    again = p.RangeRamp(0, 1, 10, past_end="cycle")
    assert again([9, 10, 11, 20]).tolist() == [0.9, 0.0, 0.1, 0.0]
    assert again(10) == 0.0
    once = ((p.RangeRamp(0, 1, 10), 11),)  # at 11 the ramp has ended
    assert p.Stages(once, past_end="cycle")([9, 10, 11, 12]).tolist() == [0.9, 1.0, 0.0, 0.1]
    for past_end in ("raise", "hold"):
        with pytest.raises(ValueError, match="iteration 11 is past the end"):
            p.Stages(once, past_end=past_end)


def test_a_policy_is_a_value():
    policy = p.Triangular(LOW, HIGH, 2000.0)
    assert policy == p.Triangular(0.001, 0.006, 2000) and len({policy, policy}) == 1
    assert policy != p.Triangular2(0.001, 0.006, 2000)
    assert repr(policy) == "Triangular(base_lr=0.001, max_lr=0.006, stepsize=2000)"
    with pytest.raises(AttributeError):
        policy.base_lr = 1.0


@settings(max_examples=5)
@given(any_policy)
def test_policies_pickle(policy):
    assert pickle.loads(pickle.dumps(policy)) == policy


# --- policies of others ---------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Warm(p.Policy, name="warm"):
    """Up to `max_lr` in `warmup` iterations, along a window."""

    max_lr: Annotated[float, checks.rate]
    warmup: Annotated[int, checks.whole]
    window: Annotated[object, p.a_wave] = p.welch

    def _values(self, t):
        return self.max_lr * self.window(1 - (t / self.warmup).clip(0, 1))


def test_a_new_policys_fields_are_checked():
    assert Warm(0.1, 10.0).warmup == 10 and type(Warm(0.1, 10.0).warmup) is int
    with pytest.raises(ValueError, match=r"warmup must be a whole number, at least 1; got 1.5"):
        Warm(0.1, 1.5)
    with pytest.raises(TypeError, match="max_lr must be a number.*; got 'high'"):
        Warm("high", 10)
    with pytest.raises(ValueError, match="window must be one of .*welch"):
        Warm(0.1, 10, abs)


def test_a_new_policy_is_written_and_read_like_the_others():
    policy = Warm(0.1, 10, p.WAVES["hann"])
    assert policy.to_dict() == {"policy": "warm", "max_lr": 0.1, "warmup": 10, "window": "hann"}
    assert p.policy_from_dict(policy.to_dict()) == policy and p.known()["warm"] is Warm
    assert repr(policy) == "Warm(max_lr=0.1, warmup=10, window=hann)"
    both = p.Stages(((policy, 20), (p.Fixed(0.1), 5)))
    assert p.policy_from_dict(both.to_dict()) == both


def test_a_field_without_a_check_is_refused_with_what_to_write():
    @dataclass(frozen=True, repr=False)
    class Unchecked(p.Policy, name="unchecked"):
        warmup: int
        _values = Warm._values

    with pytest.raises(TypeError, match="field warmup .*: Annotated.int, checks.whole."):
        Unchecked(5)


@pytest.mark.parametrize("wrong", [lambda t: 0.1, lambda t: np.ones(t.size + 1)])
def test_a_policy_that_returns_another_shape_is_named(wrong):
    class Odd(p.Policy, name="odd"):
        def _values(self, t):
            return wrong(t)

    with pytest.raises(ValueError, match=r"_values of Odd must .* of shape \(5,\); got one of"):
        Odd()(np.arange(5))


def test_a_name_belongs_to_one_class():
    with pytest.raises(ValueError, match="'fixed' is the name of clr.policies.Fixed and of"):

        class Mine(p.Policy, name="fixed"):
            pass

    assert p.known()["fixed"] is p.Fixed


def test_a_name_can_be_a_part_of_a_files_name():
    for name in ("warm/up", "warm up", ""):
        with pytest.raises(ValueError, match=f"letters, digits, _ and -; got '{name}'"):
            type("Odd", (p.Policy,), {}, name=name)


def test_a_class_that_is_defined_again_replaces_the_one_before():
    def define(rate):
        class Again(p.Policy, name="again"):
            def _values(self, t):
                return 0 * t + rate

        return Again

    first, second = define(1.0), define(2.0)
    assert p.known()["again"] is second is not first
    assert p.policy_from_dict({"policy": "again"})(0) == 2.0


def test_a_class_that_is_gone_gives_its_name_back():
    def define():
        class Brief(p.Policy, name="brief"):
            def _values(self, t):
                return 0.1 + 0 * t

        return Brief().to_dict()

    assert define() == {"policy": "brief"}

    class Longer(p.Policy, name="brief"):
        pass

    assert p.known()["brief"] is Longer


def test_a_policy_without_values_is_refused():
    class Empty(p.Policy, name="empty"):
        pass

    with pytest.raises(TypeError, match="abstract class Empty .*_values"):
        Empty()


def test_a_policy_with_an_end_raises_past_it_unless_it_says_otherwise():
    class Short(p.Policy, name="short"):
        end = 5

        def _values(self, t):
            return 0.1 + 0 * t

    assert Short()(5) == 0.1
    with pytest.raises(ValueError, match="iteration 6 is past the end of short at 5"):
        Short()(6)

    class Held(Short, name="held"):
        past_end = "hold"

    assert Held()(6) == 0.1


def test_every_policy_and_wave_is_a_public_name():
    ours = [cls for cls in p.known().values() if cls.__module__.startswith("clr.")]
    assert {cls.__name__ for cls in ours} | set(p.WAVES) <= set(p.__all__)
    assert all(hasattr(p, name) for name in p.__all__)
    assert ours[0] is p.Fixed and p.Triangular in ours


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("Triangular", "clr.policies"),
        ("hann", "clr.policies"),
        ("PolicyLR", "clr.scheduler"),
        ("lr_range_test", "clr.range_test"),
    ],
)
def test_a_name_imported_from_the_package_says_where_it_is(name, where):
    with pytest.raises(ImportError, match=f": from {where} import {name}"):
        exec(f"from clr import {name}")
    exec(f"from {where} import {name}")
    assert not hasattr(clr, "triangular") and not hasattr(clr, "np")


def test_policies_need_numpy_alone():
    code = """
import sys
from clr.policies import policy_from_dict
print(policy_from_dict({"policy": "fixed", "base_lr": 0.5})(3))
roots = {name.split(".")[0] for name in sys.modules}
print(sorted(roots & {"torch", "pandas", "scipy", "sklearn", "matplotlib", "filelock"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["0.5", "[]"], done.stderr
