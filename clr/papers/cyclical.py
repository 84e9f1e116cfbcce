"""The experiments of Cyclical Learning Rates (arXiv 1506.01186): its Table 1, its range test.

Three protocols of ours ask the same questions with shorter trainings. All train Caffe's
cifar10_full with Caffe's solver and hyper-parameters; unless an experiment says otherwise,
images come in file order, as Caffe reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clr.papers import statements as says
from clr.papers.experiment import AFTER, KNOWN, Arm, Claim, Experiment, claim
from clr.policies import (
    Decay,
    Exp,
    ExpRange,
    ExpRangeAmplitude,
    Fixed,
    RangeRamp,
    Stages,
    Step,
    Triangular,
    Triangular2,
    hann,
    triangle,
    welch,
)

LOW, HIGH = 0.001, 0.006  # the bounds of the text, sections 3.1 and 4.1.1
GAMMA = 0.99994
# what experiments with Caffe's networks share; an epoch is 50,000 images in batches of 100
CAFFE = {"paper": "CLR", "dataset": "cifar10", "epoch": 500}


def _staged(shorter: int, wave: Callable = triangle) -> Stages:
    """Table 2: triangular2 in three stages, bounds divided by 10 at 16,000 and at 22,000."""
    stages = (0.001, 2000, 16_000), (0.0001, 1000, 6000), (0.00001, 500, 3000)
    return Stages(
        tuple(
            (Triangular2(lr, 5 * lr, stepsize // shorter, wave=wave), length // shorter)
            for lr, stepsize, length in stages
        )
    )


def _table1(shorter: int) -> dict[str, Arm]:
    """The arms of Table 1, all iteration numbers divided by `shorter`."""
    k, gamma, controls = shorter, GAMMA**shorter, 3
    bounds = LOW, HIGH, 2000 // k
    every = {"test_every": min(500, 2000 // k)}
    torch_sgd = {"optimizer": "torch_sgd"}
    longer = ExpRange(LOW, HIGH, 3000 // k, gamma)
    amplitude = ExpRangeAmplitude(*bounds, gamma)
    squeezed = Step(LOW, (21_400 // k, 23_200 // k))
    return {
        "fixed": Arm(Step(LOW, (60_000 // k, 65_000 // k)), 70_000 // k),
        "triangular2": Arm(_staged(k), 25_000 // k),
        "decay": Arm(Decay(LOW, 0.007, 4000 // k), 25_000 // k),
        "exp": Arm(Exp(LOW, gamma), 70_000 // k),
        "exp_range": Arm(ExpRange(*bounds, gamma), 42_000 // k),
        "exp_range, stepsize 3,000": Arm(longer, 42_000 // k, seeds=controls),
        "triangular": Arm(Triangular(*bounds), 24_000 // k, every, seeds=controls),
        "triangular2, one stage": Arm(Triangular2(*bounds), 24_000 // k, seeds=controls),
        "exp_range, amplitude only": Arm(amplitude, 42_000 // k, seeds=controls),
        "cosine": Arm(Decay(0.0, 0.005, 25_000 // k, wave=hann), 25_000 // k, seeds=controls),
        "step": Arm(squeezed, 25_000 // k, seeds=controls),
        "triangular2, Welch": Arm(_staged(k, welch), 25_000 // k, seeds=controls),
        "triangular2, Hann": Arm(_staged(k, hann), 25_000 // k, seeds=controls),
        "triangular2, PyTorch's SGD": Arm(_staged(k), 25_000 // k, torch_sgd, seeds=controls),
    }


def _other_waves(arm: str) -> tuple[Claim, ...]:
    """That an arm with Welch's or Hann's window is as good as with straight lines."""
    return tuple(
        claim(f"{arm}, {wave} as good as {arm}", "CLR section 3.1", says.WAVE)
        for wave in ("Welch", "Hann")
    )


TABLE1 = Experiment(
    name="table1",
    about="""CLR Table 1, CIFAR-10, with Caffe's cifar10_full, its solver and its file order.

    The first five arms are the rows of the table; "triangular2" is the three stages of Table 2.
    The paper gives no bounds for exp and exp_range; we use those of its text and the gamma that
    it gives. It gives no stepsize for exp_range either. With 2,000, as in its text, 42,000
    iterations end at the top of a cycle. The second exp_range has 3,000 and ends at the end of
    a cycle. The other arms are those that the text describes differently (with one pair of
    bounds, section 4.1.1), PyTorch's reading of exp_range, and controls that the paper lacks:
    the cosine falls from Table 2's max_lr, and "step" is "fixed" shortened to 25,000
    iterations.
    """,
    **CAFFE,
    seeds=5,
    settings={"shuffle": False, "test_every": 500},
    arms=_table1(1),
    claims=(
        claim("triangular2 not worse than fixed", "CLR Table 1", says.THIRD, written=AFTER),
        claim("triangular2 better than decay", "CLR Table 1", says.DECAY, written=AFTER),
        claim("exp_range better than exp", "CLR Table 1", says.EXP_RANGE_EXP, written=KNOWN),
        claim("exp_range better than fixed", "CLR Table 1", says.EXP_RANGE, written=AFTER),
        claim(
            "triangular not worse than fixed",
            "CLR section 3.1, Fig. 1",
            says.THIRD,
            written=KNOWN,
        ),
        *(replace(each, written=KNOWN) for each in _other_waves("triangular2")),
        claim(
            "triangular better than triangular",
            "CLR section 3.2",
            says.STOP,
            at=20_000,
            other_at=22_000,
        ),
        claim(
            "triangular2 better than fixed",
            "CLR abstract",
            says.AS_LONG,
            other_at=25_000,
            written=AFTER,
        ),
        claim("exp_range, stepsize 3,000 better than fixed", written=KNOWN),
        claim("exp_range, stepsize 3,000 better than exp_range", written=KNOWN),
        claim("triangular2 better than step", written=KNOWN),
        claim("triangular2 better than cosine", written=KNOWN),
        claim("triangular2 better than triangular2, one stage", written=AFTER),
        claim("exp_range as good as exp_range, amplitude only", written=KNOWN),
        claim("triangular2 as good as triangular2, PyTorch's SGD", written=KNOWN),
    ),
)


def _tenth() -> Experiment:
    """Seven arms of Table 1 and the claims about them, ten times shorter."""
    names = "fixed", "triangular2", "decay", "triangular", "triangular2, one stage", "step"
    full, short = TABLE1.only([*names, "cosine"]), _table1(10)
    return replace(
        full,
        name="tenth",
        about="""Seven arms of Table 1, ten times shorter: iterations, drops, stages, stepsizes.

        A protocol of ours that shows what is left of the claim when training is that short.
        """,
        seeds=3,
        breaks=(
            "stepsizes of 0.4 epochs; section 3.2 asks for 2 to 10",
            "a tenth of the published lengths",
        ),
        settings=full.settings | {"test_every": 250},
        arms={name: short[name] for name in full.arms},
        claims=tuple(
            replace(
                each,
                at=each.at and each.at // 10,
                other_at=each.other_at and each.other_at // 10,
                written=AFTER,
            )
            for each in full.claims
        ),
    )


TENTH = _tenth()

_LAPTOP = 4000
LAPTOP = Experiment(
    name="laptop",
    about="""Two cycles with the paper's bounds against a fixed rate for three times as long.

    A protocol of ours, for a CPU: 4,000 iterations (8 epochs), stepsize 1,000 (2 epochs, the
    shortest that the paper advises), no drops. Network, solver, batch and order are those of
    the paper.
    """,
    **CAFFE,
    seeds=3,
    breaks=(
        "8 epochs for the cycles and 24 for the fixed rate; Table 1 has 50 and 140",
        "two cycles; section 3.2 asks for at least three",
        "the fixed rate has no drops",
    ),
    settings={"shuffle": False},
    arms={
        "fixed": Arm(Fixed(LOW), 3 * _LAPTOP),
        "fixed at the mean": Arm(Fixed((LOW + HIGH) / 2), _LAPTOP),
        "triangular": Arm(Triangular(LOW, HIGH, 1000), _LAPTOP),
        "triangular2": Arm(Triangular2(LOW, HIGH, 1000), _LAPTOP),
        "exp_range": Arm(ExpRange(LOW, HIGH, 1000, GAMMA), _LAPTOP),
        "exp_range, amplitude only": Arm(ExpRangeAmplitude(LOW, HIGH, 1000, GAMMA), _LAPTOP),
        "decay": Arm(Decay(LOW, 0.007, _LAPTOP), _LAPTOP),
        "cosine": Arm(Decay(0.0, HIGH, _LAPTOP, wave=hann), _LAPTOP),
        "step": Arm(Step(HIGH, (_LAPTOP // 2, 3 * _LAPTOP // 4)), _LAPTOP),
        "triangular, Welch": Arm(Triangular(LOW, HIGH, 1000, wave=welch), _LAPTOP),
        "triangular, Hann": Arm(Triangular(LOW, HIGH, 1000, wave=hann), _LAPTOP),
        "triangular, PyTorch's SGD": Arm(
            Triangular(LOW, HIGH, 1000), _LAPTOP, {"optimizer": "torch_sgd"}
        ),
    },
    claims=(
        claim("triangular not worse than fixed", "CLR abstract", says.THIRD),
        claim("triangular better than fixed", "CLR abstract", says.AS_LONG, other_at=_LAPTOP),
        claim("exp_range better than fixed", "CLR Table 1", says.EXP_RANGE),
        claim("triangular2 better than decay", "CLR Table 1", says.DECAY),
        *_other_waves("triangular"),
        claim(
            "triangular better than triangular",
            "CLR section 3.2",
            says.STOP,
            at=2000,
            other_at=3000,
        ),
        claim("triangular better than fixed at the mean"),
        claim("triangular better than decay"),
        claim("triangular better than step"),
        claim("triangular better than cosine"),
        claim("exp_range as good as exp_range, amplitude only"),
        claim("triangular as good as triangular, PyTorch's SGD"),
    ),
)

RANGE_TEST = Experiment(
    name="range_test",
    about="""CLR Fig. 3, the LR range test of cifar10_full: 8 epochs, the rate rising from 0.

    The paper does not give the end of the ramp; 0.02 is more than three times its max_lr.
    """,
    **CAFFE,
    seeds=5,
    settings={"shuffle": False, "test_every": 50},
    arms={"range ramp": Arm(RangeRamp(0.0, 0.02, 4000), 4000)},
)

_STEPSIZE = "CLR section 3.2", says.STEPSIZE
STEPSIZE = Experiment(
    name="stepsize",
    about="""How long half a cycle should be (CLR 3.2): 2,560 iterations in 16 to 1 cycles.

    Triangular with the paper's bounds, on 8,068 images of CIFAR-10, whose epoch is 81
    iterations: stepsizes of 1, 2, 4, 8 and 16 epochs, where the paper advises 2 to 10.
    """,
    paper="CLR",
    dataset="cifar10",
    seeds=3,
    epoch=81,
    breaks=(
        "32 epochs of 8,068 images; the paper has 50,000 images",
        "images in random order",
    ),
    settings={"test_every": 80},
    arms={
        f"stepsize {n}": Arm(Triangular(LOW, HIGH, n), 2560) for n in (80, 160, 320, 640, 1280)
    },
    claims=(
        claim("stepsize 160 better than stepsize 80", *_STEPSIZE),
        claim("stepsize 640 not worse than stepsize 160", *_STEPSIZE),
        claim("stepsize 640 as good as stepsize 160", *_STEPSIZE, margin=0.01),
        claim("stepsize 640 better than stepsize 1280", *_STEPSIZE),
    ),
)

SUBSET = Experiment(
    name="subset",
    about="""20 epochs of 8,068 images: triangular, the paper's bounds and stepsize in epochs.

    It is meant for two image folders: the same images without and with JPEG compression.
    """,
    paper="ours",
    dataset="cifar10",
    seeds=5,
    epoch=81,
    breaks=("8,068 of the 50,000 training images", "images in random order"),
    settings={"test_every": 200},
    arms={"triangular": Arm(Triangular(LOW, HIGH, 200), 1600)},
)

REHEARSAL = Experiment(
    name="rehearsal",
    about="Four short arms on the digits, or on any data: to try out a machine or a cluster.",
    paper="ours",
    dataset="digits",
    seeds=5,
    epoch=14,
    settings={"model": "resnet8", "weight_decay": 0.0001, "test_every": 20},
    arms={
        "fixed": Arm(Fixed(0.1), 60),
        "triangular": Arm(Triangular(0.05, 0.5, 15), 60),
        "triangular2": Arm(Triangular2(0.05, 0.5, 15), 60),
        "exp_range": Arm(ExpRange(0.05, 0.5, 15, 0.99), 60),
    },
)
