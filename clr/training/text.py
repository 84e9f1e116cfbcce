"""A text as a data set: blocks of bytes, and for each byte the one that follows."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch

BLOCK = 128  # bytes
HELD_OUT = 1200  # blocks for testing, and as many at the end of the training blocks
LARGEST = 200_000  # bytes; larger files hold tables of numbers
PACKAGE = "sympy"


def python_files() -> list[Path]:
    """The modules of SymPy in the order of their names, without its tests and tables.

    SymPy is installed with PyTorch, which needs it. ImportError where it is missing.
    """
    try:
        folder = Path(str(distribution(PACKAGE).locate_file(PACKAGE)))
    except PackageNotFoundError:
        raise ImportError(
            f"dataset 'text' is the source of the package {PACKAGE}, which is not installed: "
            f"pip install {PACKAGE}"
        ) from None
    found = sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts)
    return [
        path
        for path in found
        if not {"tests", "benchmarks"} & set(path.relative_to(folder).parts)
        and path.stat().st_size <= LARGEST
    ]


def blocks(
    text: bytes, length: int = BLOCK, name: str = "text"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks of a text and the bytes that follow each of their bytes, (N, length) both.

    Blocks are uint8 and do not overlap; what follows is int64. The bytes after the last whole
    block are left out. ValueError, with the `name` of the text, if it is shorter than a block
    and the byte after it.
    """
    n = (len(text) - 1) // length
    if n < 1:
        raise ValueError(
            f"{name} must have at least {length + 1} bytes, a block and the byte that follows; "
            f"got {len(text)}"
        )
    values = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    return (
        values[: n * length].reshape(n, length),
        values[1 : n * length + 1].reshape(n, length).long(),
    )


def split(files: list[bytes]) -> tuple[torch.Tensor, ...]:
    """Training blocks, what follows, test blocks, what follows.

    Every twentieth file is for testing: `HELD_OUT` blocks at equal distances (all of them, if
    there are fewer). The others are in a random order, the same one each time, so that the last
    `HELD_OUT` training blocks, which can be kept back for validation, are of many files.
    ValueError if there is no block for training or none for testing.
    """
    testing = files[19::20]
    training = [text for i, text in enumerate(files) if i % 20 != 19]
    np.random.default_rng(0).shuffle(training)
    train = blocks(b"".join(training), name="the training files of the text")
    test = blocks(b"".join(testing), name="the test files of the text (every twentieth file)")
    step = max(1, len(test[0]) // HELD_OUT)
    return (*train, *(part[::step][:HELD_OUT] for part in test))
