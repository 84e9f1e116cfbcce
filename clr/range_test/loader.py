"""What the next pass over a loader depends on, and how it is put back."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref as weakref

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

# parts of any class
_INNER = ("sampler", "batch_sampler", "dataset", "gradient_state", "collate_fn")
_FEW = 100  # longer lists and dictionaries hold data
_NEAR = 10_000  # objects; what lies further from the loader than these plays no part


def kept(batches: object) -> Iterator[Callable[[], Any]]:
    """Functions that together put back what the next pass over `batches` depends on.

    That is, of the loader and of the loaders, samplers, data sets and the `collate_fn` in it:
    their attributes, the content of lists, dicts and arrays of indices among these, and random
    generators, also those of transforms. A `state_dict` is used only where the loader is no
    DataLoader: to load a DataLoader's means that the next pass goes on in the middle of one.

    Until then a DataLoader has no iterator: what runs in between starts workers of its own, and
    those of before keep their states and positions.
    """
    parts = _parts(batches)
    later = [_of_generator(generator) for generator in generators(batches)]
    for part in parts:
        later += of_attributes(part)
    if not isinstance(batches, DataLoader) and hasattr(batches, "load_state_dict"):
        load, state = batches.load_state_dict, copy.deepcopy(batches.state_dict())  # type: ignore[attr-defined]
        yield lambda: load(state)
    yield from later
    for part in parts:
        if isinstance(part, DataLoader) and "_iterator" in vars(part):
            vars(part)["_iterator"] = None
            if "_initial_iter_for_state_dict" in vars(part):  # torchdata's, for `_iterator`
                vars(part)["_initial_iter_for_state_dict"] = False


def generators(batches: object) -> list[Any]:
    """The random generators of Python, numpy and torch in a loader and in what it holds."""
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    seen: dict[int, Any] = {}
    ahead = deque([batches])
    while ahead and len(seen) < _NEAR:
        each = ahead.popleft()
        if id(each) not in seen:
            seen[id(each)] = each
            ahead.extend([] if isinstance(each, kinds) else _inside(each))
    return [each for each in seen.values() if isinstance(each, kinds)]


def _inside(value: Any) -> Iterable[Any]:
    """What a value holds: attributes, few items, or what a function was made with."""
    if isinstance(value, list | tuple | dict):
        few = value if len(value) < _FEW else ()
        return few.values() if isinstance(few, dict) else few
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, MethodType):
        return [value.__self__]
    if isinstance(value, FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]
    if isinstance(value, type | ModuleType):  # it is shared by all that use it
        return []
    return getattr(value, "__dict__", {}).values()


def seed_generator(generator: Any, seed: int) -> None:
    """Begin the generator's random numbers at `seed`."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    else:
        generator.seed(seed)


def of_attributes(part: object) -> Iterator[Callable[[], Any]]:
    """Functions that put back an object's attributes, and the content of some of them."""
    attributes = vars(part)
    yield _content(attributes)
    if not _is_map(part):  # that may be large, and reading it changes nothing
        yield from map(_content, attributes.values())


def is_known(batches: object) -> bool:
    """Whether `kept` is certainly enough.

    It is for a list, and for a loader with samplers of torch's own, if a function makes its
    batches.
    """
    if not isinstance(batches, DataLoader):
        return isinstance(batches, list | tuple)
    return all(
        type(part).__module__.startswith("torch.utils.data.")
        or isinstance(part, FunctionType)
        or _is_map(part)
        for part in _parts(batches)
    )


def is_used_up(batches: object) -> bool:
    """Whether it is an iterator without attributes, whose batches come only once."""
    return hasattr(batches, "__next__") and not hasattr(batches, "__dict__")


def same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same values; NaN is the same as NaN.

    False, too, where they cannot be compared.
    """
    try:
        return _same(one, other, [])
    except Exception:  # of any class that a batch can have
        return False


def _same(one: Any, other: Any, outer: list[Any]) -> bool:
    """As `same`; `outer` are the values of the first batch that `one` lies in."""
    if one is other or any(one is each for each in outer):
        return True
    if type(one) is not type(other):
        return False
    inner = [*outer, one]
    if isinstance(one, Tensor) and one.is_nested:
        return _same(one.unbind(), other.unbind(), inner)
    if isinstance(one, Tensor) and one.layout != torch.strided:
        return _same(one.to_dense(), other.to_dense(), inner)
    if isinstance(one, Tensor | np.ndarray):
        return one.shape == other.shape and bool(((one == other) | (one != one)).all())
    if isinstance(one, Mapping):
        keys = list(one) == list(other)
        return keys and all(_same(one[key], other[key], inner) for key in one)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same(*pair, inner) for pair in pairs)
    if isinstance(one, weakref):
        return True
    if hasattr(one, "__dict__") or hasattr(one, "__slots__"):
        return _same(one.__getstate__(), other.__getstate__(), inner)
    return bool(one == other or (one != one and other != other))


def _is_map(part: object) -> bool:
    """Whether it is a data set by index, whose items do not depend on those before."""
    return hasattr(type(part), "__getitem__") and not isinstance(part, IterableDataset)


def _parts(batches: object) -> list[Any]:
    """The loader and the loaders, samplers and data sets in it, each once."""
    parts: list[Any] = []
    ahead = [batches]
    while ahead:
        each = ahead.pop()
        if not hasattr(each, "__dict__") or any(each is part for part in parts):
            continue
        parts.append(each)
        for name, value in vars(each).items():
            several = value if isinstance(value, list | tuple) and len(value) < 100 else [value]
            kinds = DataLoader | Sampler | Dataset
            ahead += [x for x in several if name in _INNER or isinstance(x, kinds)]
    return parts


def _of_generator(generator: Any) -> Callable[[], Any]:
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return partial(setattr, bits, "state", bits.state)
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    return partial(generator.set_state, generator.get_state())


def _content(value: Any) -> Callable[[], Any]:
    """A function that puts back what a list, a dict, a set or an array of indices holds."""
    if isinstance(value, list | deque | dict | set):
        saved = copy.copy(value)
        fill = value.extend if isinstance(value, list | deque) else value.update
        return lambda: (value.clear(), fill(saved))
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        return partial(np.copyto, value, value.copy())
    if isinstance(value, Tensor) and value.ndim == 1 and not value.is_floating_point():
        return partial(value.copy_, value.clone())
    return lambda: None
