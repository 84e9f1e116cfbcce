"""What a policy that is defined outside the package may rely on."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest

import clr
from clr import checks, policies
from clr.policies import WAVES, Fixed, Policy, Triangular, known, policy_from_dict, welch
from clr.policies.waves import a_wave


@dataclass(frozen=True, repr=False)
class Warm(Policy, name="warm"):
    """Up to `max_lr` in `warmup` iterations, along a window."""

    max_lr: Annotated[float, checks.rate]
    warmup: Annotated[int, checks.whole]
    window: Annotated[object, a_wave] = welch

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
    policy = Warm(0.1, 10, WAVES["hann"])
    assert policy.to_dict() == {"policy": "warm", "max_lr": 0.1, "warmup": 10, "window": "hann"}
    assert policy_from_dict(policy.to_dict()) == policy and known()["warm"] is Warm
    assert repr(policy) == "Warm(max_lr=0.1, warmup=10, window=hann)"
    both = policies.Stages(((policy, 20), (Fixed(0.1), 5)))
    assert policy_from_dict(both.to_dict()) == both


def test_a_field_without_a_check_is_refused_with_what_to_write():
    @dataclass(frozen=True, repr=False)
    class Unchecked(Policy, name="unchecked"):
        warmup: int
        _values = Warm._values

    with pytest.raises(
        TypeError, match="the field warmup of Unchecked has no check"
    ) as refused:
        Unchecked(5)
    assert "for example warmup: Annotated[int, checks.whole]" in str(refused.value)

    @dataclass(frozen=True, repr=False)
    class Other(Policy, name="other"):
        parts: Annotated[dict | None, "not a check"]
        _values = Warm._values

    with pytest.raises(TypeError, match=r"parts: Annotated\[dict \| None, check\], where"):
        Other(None)


def test_an_annotation_that_cannot_be_read_is_named():
    @dataclass(frozen=True, repr=False)
    class Torn(Policy, name="torn"):
        warmup: "Annotated[int, somewhere.check]"  # noqa: F821
        _values = Warm._values

    with pytest.raises(TypeError, match="annotations of Torn .*'somewhere' is not defined"):
        Torn(5)


def test_a_name_belongs_to_one_class():
    with pytest.raises(
        ValueError, match="'fixed' is the name of clr.policies.kinds.Fixed and of"
    ):

        class Mine(Policy, name="fixed"):
            pass

    assert known()["fixed"] is Fixed


def test_a_name_can_be_a_part_of_a_files_name():
    for name in ("warm/up", "warm up", ""):
        with pytest.raises(ValueError, match=f"letters, digits, _ and -; got '{name}'"):
            type("Odd", (Policy,), {}, name=name)


def test_a_class_that_is_defined_again_replaces_the_one_before():
    def define(rate):
        class Again(Policy, name="again"):
            def _values(self, t):
                return 0 * t + rate

        return Again

    first, second = define(1.0), define(2.0)
    assert known()["again"] is second is not first
    assert policy_from_dict({"policy": "again"})(0) == 2.0


def test_a_class_that_is_gone_gives_its_name_back():
    def define():
        class Brief(Policy, name="brief"):
            def _values(self, t):
                return 0.1 + 0 * t

        return Brief().to_dict()

    assert define() == {"policy": "brief"}

    class Longer(Policy, name="brief"):
        pass

    assert known()["brief"] is Longer


def test_a_policy_without_values_is_refused():
    class Empty(Policy, name="empty"):
        pass

    with pytest.raises(TypeError, match="abstract class Empty .*_values"):
        Empty()


def test_a_policy_with_an_end_raises_past_it_unless_it_says_otherwise():
    class Short(Policy, name="short"):
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
    ours = [cls for cls in known().values() if cls.__module__.startswith("clr.")]
    assert {cls.__name__ for cls in ours} | set(WAVES) <= set(policies.__all__)
    assert all(hasattr(policies, name) for name in policies.__all__)
    assert ours[0] is Fixed and Triangular in ours


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


@pytest.mark.parametrize("module", ["clr.policies", "clr.policies.base"])
def test_policies_need_numpy_alone(module):
    code = f"""
import sys
from {module} import policy_from_dict
print(policy_from_dict({{"policy": "fixed", "base_lr": 0.5}})(3))
roots = {{name.split(".")[0] for name in sys.modules}}
print(sorted(roots & {{"torch", "pandas", "scipy", "sklearn", "matplotlib", "filelock"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["0.5", "[]"], done.stderr
