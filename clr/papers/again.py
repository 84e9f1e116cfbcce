"""Should the rate rise again? A second workload, on which neither paper trained.

A byte-level transformer (`clr.training.models.Transformer`) learns the text of SymPy under
AdamW for T = 800 iterations of 32 blocks. The loss on held-out text is compared, in nats per
byte. The questions are those of somebody who knows the number of iterations in advance, who
does not know it, or who doubles it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from clr.papers.choose import chosen
from clr.papers.experiment import Arm, Claim, Experiment, claim
from clr.policies import Decay, Fixed, Policy, RangeRamp, Stages, Triangular, hann
from clr.runs import Run

T = 800
RATES = tuple(0.0005 * 2**k for k in range(5))  # peak rates
SHORT, LONG = 0.05, 0.25  # warm-up, as a fraction of the run
_LENGTHS = (T // 4, T // 2, 3 * T // 4, 2 * T)  # for which linear is tuned, too
_SETTINGS = {
    "model": "transformer",
    "optimizer": "adamw",
    "momentum": 0.9,
    "weight_decay": 0.1,
    "clip_grad_norm": 1.0,
    "batch_size": 32,
    "subtract_mean": False,
    "validation_images": 1200,
    "test_every": 200,
}

Maker = Callable[[float], Policy]  # from the peak rate


def _rises(peak: float, warm_up: int, *then: tuple[Policy, int]) -> Stages:
    """A linear rise from 0 to the peak, then other stages."""
    return Stages(((RangeRamp(0.0, peak, warm_up), warm_up), *then))


def linear(n: int, warm_up: float) -> Maker:
    """A rise, then a linear fall to 0."""
    up = round(warm_up * n)
    return lambda peak: Triangular(0.0, peak, up, stepsize_down=n - up)


def hold_and_fall(n: int, up: int) -> Maker:
    """A rise of `up` iterations, a constant rate, then a linear fall to 0 in the last fifth."""
    last = n // 5
    return lambda peak: _rises(
        peak, up, (Fixed(peak), n - up - last), (Decay(0.0, peak, last), last)
    )


def cosines(up: int, *lengths: int) -> Maker:
    """Cosines that fall to 0, one after another (SGDR), with a rise before the first one.

    `lengths` has one length per cosine; the rise of `up` iterations is part of the first.
    """
    first, *others = lengths

    def make(peak: float) -> Policy:
        falls = ((Decay(0.0, peak, n, wave=hann), n) for n in (first - up, *others))
        return _rises(peak, up, *falls)

    return make


def _with_warm_up(warm_up: float) -> dict[str, Maker]:
    up = round(warm_up * T)
    return {
        "constant": lambda peak: _rises(peak, up, (Fixed(peak), T - up)),
        "linear": linear(T, warm_up),
        "cosine": cosines(up, T),
        "hold and fall": hold_and_fall(T, up),
    }


_UP = round(SHORT * T)
WARMED = tuple(_with_warm_up(SHORT))  # the schedules whose warm-up is chosen, too
CYCLES: dict[str, Maker] = {
    "one cycle": lambda peak: Triangular(0.0, peak, T // 2),
    "two cycles to 0": lambda peak: Triangular(0.0, peak, T // 4),
    "two cycles to a sixth": lambda peak: Triangular(peak / 6, peak, T // 4),
    "SGDR": cosines(_UP, T // 7, 2 * T // 7 + 1, T - T // 7 - 2 * T // 7 - 1),
}
SCHEDULES: dict[str, Maker] = {
    **{
        f"{name}, {warm_up:.0%} warm-up": maker
        for warm_up in (SHORT, LONG)
        for name, maker in _with_warm_up(warm_up).items()
    },
    **CYCLES,
}


def tuned(length: int) -> str:
    """The name of the linear schedule that is tuned for another length than T."""
    return f"linear, {length:,} iterations"


# The rates that a schedule's grid got later, because its highest one had been the best. (Linear
# for other lengths has them from the start: `RATES_OF_AGAIN`.)
FURTHER = {
    "constant, 25% warm-up": (0.016,),
    "linear, 25% warm-up": (0.016,),
    "cosine, 25% warm-up": (0.016, 0.032),
    "hold and fall, 25% warm-up": (0.016,),
    "one cycle": (0.016, 0.032),
    "two cycles to 0": (0.016,),
    "two cycles to a sixth": (0.016,),
}


def at_rate(schedule: str, rate: float) -> str:
    """The name of the arm of `RATES_OF_AGAIN` with this schedule and this peak rate."""
    return f"{schedule}, {rate:g}"


RATES_OF_AGAIN = Experiment(
    name="again_rates",
    about="""The peak rate of each schedule of `again`, and the length of its warm-up.

    Twelve schedules at five peak rates; linear for other lengths (25 % warm-up) at four. A
    schedule's rate is the one with the lowest mean validation loss over two seeds; a schedule
    that comes with two warm-ups gets the better one in the same way. If the chosen rate is the
    lowest or the highest of its grid, the grid gets another rate there, an octave further. Test
    losses choose nothing. (At first, the middle three rates were planned for linear for other
    lengths. Before its first run there, 0.008 was the best of the five for T, so its grids were
    moved up.)
    """,
    paper="ours",
    dataset="text",
    seeds=2,
    settings=_SETTINGS,
    measure="loss",
    arms={
        **{
            at_rate(name, rate): Arm(maker(rate), T)
            for name, maker in SCHEDULES.items()
            for rate in RATES + FURTHER.get(name, ())
        },
        **{
            at_rate(tuned(n), rate): Arm(linear(n, LONG)(rate), n)
            for n in _LENGTHS
            for rate in (*RATES[2:], 2 * RATES[-1])
        },
    },
)


def choices(runs: Mapping[str, Sequence[Run]]) -> tuple[dict[str, float], dict[str, float]]:
    """The two arguments of `again`, from the runs of `RATES_OF_AGAIN` by arm.

    These are the peak rate of each schedule, and the warm-up of each one in `WARMED`, as a
    fraction of T. Raises what `clr.papers.choose.chosen` raises.
    """
    best = chosen(RATES_OF_AGAIN, runs)

    def score(name: str, warm_up: float) -> float:
        return best[f"{name}, {warm_up:.0%} warm-up"][1]

    warm_ups = {
        name: max((SHORT, LONG), key=lambda warm_up: score(name, warm_up)) for name in WARMED
    }
    return {name: rate for name, (rate, _) in best.items()}, warm_ups


def _ready(*at: int) -> list[int]:
    """The lengths of branches of one hold-and-fall trunk that are ready after `at` iterations.

    These are all iterations spent until then: the trunk and the falls of all branches. A
    branch falls in the last fifth of its own length.
    """
    lengths, falls = [], 0
    for total in at:
        lengths.append(total - falls)
        falls += lengths[-1] // 5
    return lengths


def again(rates: Mapping[str, float], warm_ups: Mapping[str, float]) -> Experiment:
    """Every schedule at its chosen rate, on five seeds that were not used to choose.

    `rates` holds a peak rate per name in `SCHEDULES` that is used and per `tuned` name,
    `warm_ups` the chosen warm-up of each name in `WARMED`. Both are what `choices` gives: they
    come from validation losses and from nothing else.
    """
    names = {name: f"{name}, {warm_ups[name]:.0%} warm-up" for name in WARMED}
    names |= {name: name for name in CYCLES}  # in `SCHEDULES`
    known = {name: SCHEDULES[each] for name, each in names.items()}
    rate = {name: rates[each] for name, each in names.items()}
    trunk = rates[f"hold and fall, {SHORT:.0%} warm-up"]
    cosine = f"cosine, {SHORT:.0%} warm-up"  # the warm-up of SGDR
    branches = dict(zip(("T/4", "T/2", "T"), _ready(T // 4, T // 2, T), strict=True))
    branches["3T/4"] = _ready(T // 4, T // 2, 3 * T // 4)[-1]
    peak, up = rate["linear"], round(warm_ups["linear"] * T)
    resumed = 2 * T - T // 5  # a run of T iterations that goes on loses its fall
    arms = {
        **{name: Arm(maker(rate[name]), T) for name, maker in known.items()},
        cosine: Arm(SCHEDULES[cosine](rates[cosine]), T),
        **{
            f"{name}, twice its rate": Arm(known[name](2 * rate[name]), T)
            for name in ("linear", "one cycle", "two cycles to 0")
        },
        "SGDR, 1 : 1 : 2": Arm(cosines(_UP, T // 4, T // 4, T // 2)(rate["SGDR"]), T),
        **{f"branch, {at}": Arm(hold_and_fall(n, _UP)(trunk), n) for at, n in branches.items()},
        **{tuned(n): Arm(linear(n, LONG)(rates[tuned(n)]), n) for n in _LENGTHS},
        "re-warmed": Arm(Triangular(0.0, peak, up, stepsize_down=T - up), 2 * T),
        "resumed trunk": Arm(
            hold_and_fall(resumed, round(warm_ups["hold and fall"] * T))(rate["hold and fall"]),
            resumed,
        ),
        "constant at a tenth": Arm(
            Stages(((linear(T, warm_ups["linear"])(peak), T), (Fixed(peak / 10), T))), 2 * T
        ),
    }
    return Experiment(
        name="again",
        about="""Should the rate rise again, if the length is known, unknown, doubled?

        *Known*: eight schedules of T = 800 iterations. Four of them have the better of two
        warm-ups, SGDR always 5 %; so there is also a cosine with 5 %. Three schedules also run
        at twice the rate of the grid that was chosen for each.

        *Unknown*: a model is wanted after T/4, T/2 and T iterations. SGDR with cycles of
        1 : 1 : 2 ends a cycle there; its rate is that of 1 : 2 : 4. A trunk with a constant
        rate gets branches that fall to 0, and the iterations of all falls are counted, so that
        both have spent equally many (the branch for 3T/4 is one more, and not counted for T).
        The trunk has a warm-up of 5 % of T, since its first branch comes early, and the rate of
        "hold and fall" with this warm-up. The rate of linear is tuned for each length, with a
        warm-up of 25 %.

        *Doubled*: a run of T iterations goes on to 2T: "linear" with a second rise and fall of
        the same shape; "hold and fall" from before its fall, whose iterations are lost (so it
        ends at 1.8 T); or "linear" with a tenth of its peak rate. Linear is planned and tuned
        for 2T.
        """,
        paper="ours",
        dataset="text",
        seeds=5,
        first_seed=2,
        settings=_SETTINGS,
        measure="loss",
        arms=arms,
        claims=_CLAIMS,
    )


def _ours(sentence: str, **more) -> Claim:
    return claim(sentence, margin=0.02, **more)  # nats per byte


def _at_twice(cycle: str, **more) -> Claim:
    """That twice its rate costs a cycle less than it costs linear."""
    twice = ", twice its rate"
    return _ours(
        f"{cycle}{twice} better than linear{twice}", minus=cycle, other_minus="linear", **more
    )


_CLAIMS = (
    _ours("two cycles to 0 not worse than linear", primary=True),
    _ours("one cycle as good as linear", primary=True),
    _ours("SGDR not worse than cosine", primary=True),
    _at_twice("two cycles to 0", primary=True),
    _ours("SGDR, 1 : 1 : 2 not worse than branch, T/2", at=T // 2, primary=True),
    _ours("SGDR, 1 : 1 : 2 not worse than branch, T", primary=True),
    _ours(f"re-warmed not worse than {tuned(2 * T)}", primary=True),
    _at_twice("one cycle"),
    _ours(f"SGDR not worse than cosine, {SHORT:.0%} warm-up"),
    _ours("two cycles to 0 better than one cycle"),
    _ours("two cycles to 0 better than two cycles to a sixth"),
    _ours("linear better than constant"),
    _ours("hold and fall as good as cosine"),
    _ours("linear as good as cosine"),
    _ours("SGDR, 1 : 1 : 2 not worse than branch, T/4", at=T // 4),
    *(
        _ours(f"branch, {at} not worse than {tuned(length)}")
        for at, length in (("T/4", T // 4), ("T/2", T // 2), ("3T/4", 3 * T // 4))
    ),
    _ours("branch, T not worse than linear"),
    _ours(f"resumed trunk not worse than {tuned(2 * T)}"),
    _ours("re-warmed better than constant at a tenth"),
)

# What `choices` returned for the runs of `RATES_OF_AGAIN`. A test compares it with the records.
AGAIN = again(
    {
        "constant, 5% warm-up": 0.002,
        "linear, 5% warm-up": 0.002,
        "cosine, 5% warm-up": 0.002,
        "hold and fall, 5% warm-up": 0.002,
        "constant, 25% warm-up": 0.008,
        "linear, 25% warm-up": 0.008,
        "cosine, 25% warm-up": 0.016,
        "hold and fall, 25% warm-up": 0.008,
        "one cycle": 0.016,
        "two cycles to 0": 0.008,
        "two cycles to a sixth": 0.008,
        "SGDR": 0.002,
        tuned(200): 0.004,
        tuned(400): 0.008,
        tuned(600): 0.008,
        tuned(1600): 0.008,
    },
    {"constant": 0.05, "linear": 0.25, "cosine": 0.25, "hold and fall": 0.25},
)
