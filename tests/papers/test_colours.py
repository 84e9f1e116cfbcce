"""One colour per schedule: each can be seen on its ground, and told from the others."""

import itertools

import numpy as np
import pytest

from clr.papers import EXPERIMENTS, colours
from clr.policies import Decay, Fixed, RangeRamp, Stages, Triangular, hann, known

# what a reader with protanopia or deuteranopia sees, of linear RGB (Machado and others, 2009)
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}
TOGETHER = [  # kinds that the figures of a chapter show together
    ["fixed", "triangular2", "decay", "exp", "exp_range"],
    ["fixed", "step", "decay", "cosine", "hold_and_fall", "triangular"],
    [
        "fixed",
        "triangular",
        "triangular2",
        "exp_range",
        "exp_range_amplitude",
        "cosine",
        "step",
    ],
    ["exp_range", "exp_range_amplitude", "exp_range_cycle"],
    ["inv", "step", "one_cycle", "decay"],
]


def linear(colour):
    """Linear RGB of '#rrggbb'."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """OKLab of linear RGB; a distance of 0.02 can just be seen (Ottosson, 2020)."""
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return to_lab @ np.cbrt(to_lms @ rgb)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", [*colours.COLOURS, "a reader's"])
def test_each_colour_can_be_seen_on_its_ground(kind, dark):
    weights = SIGHTS["grey"][0]
    pair = [
        weights @ linear(c) for c in (colours.colour(kind, dark=dark), colours.GROUND[dark])
    ]
    assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 3


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("sight", SIGHTS)
def test_schedules_that_are_shown_together_can_be_told_apart(sight, dark):
    for group in TOGETHER:
        for pair in itertools.combinations(group, 2):
            seen = [
                oklab(np.clip(SIGHTS[sight] @ linear(colours.colour(kind, dark=dark)), 0, 1))
                for kind in pair
            ]
            least = 0.02 if sight == "grey" else 0.07
            assert np.linalg.norm(seen[0] - seen[1]) >= least, pair


def test_all_policies_of_the_experiments_have_a_colour():
    for experiment in EXPERIMENTS.values():
        for name, arm in experiment.arms.items():
            kind = colours.kind(arm.policy)
            assert kind in colours.COLOURS, (
                f"{experiment.name}: {name}: give {kind} a colour in clr/papers/colours.py "
                "and add it to TOGETHER in this file"
            )
    ours = {name for name, cls in known().items() if cls.__module__.startswith("clr.")}
    assert set(colours.COLOURS) <= ours | {"cosine", "hold_and_fall"}


def test_a_schedule_has_the_kind_of_its_shape():
    fall, wave = Decay(0.0, 0.1, 10), Decay(0.0, 0.1, 10, wave=hann)
    assert colours.kind(fall) == "decay" and colours.kind(wave) == "cosine"
    rise = (RangeRamp(0.0, 0.1, 5), 5)
    assert colours.kind(Stages((rise, (wave, 10)))) == "cosine"
    assert colours.kind(Stages((rise, (Fixed(0.1), 5), (fall, 10)))) == "hold_and_fall"
    assert colours.kind(Triangular(0.0, 0.1, 5)) == "triangular"
    assert colours.kind(Triangular(0.0, 0.1, 5, stepsize_down=15)) == "decay"


def test_a_second_schedule_of_a_kind_has_dashes():
    one, other = Triangular(0.1, 0.2, 5), Triangular(0.0, 0.2, 5)
    styles = colours.styles({"a": one, "b": Fixed(0.1), "c": other})
    assert styles["a"]["color"] == styles["c"]["color"] != styles["b"]["color"]
    assert [each["linestyle"] for each in styles.values()] == ["-", "-", "--"]
