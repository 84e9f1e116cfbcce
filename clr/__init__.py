"""Cyclical learning rates: a library for any PyTorch training, and a laboratory built on it.

The library needs only numpy, torch, pandas, matplotlib and tqdm:

policies     every learning-rate policy of the papers, as a value
scheduler    PolicyLR, a PyTorch scheduler that follows a policy
range_test   the LR range test, for any model

The laboratory (the `lab` extra) trains the papers' experiments, records the runs, judges the
papers' claims by them and shows them in notebooks: `python -m clr --help`.
"""

from typing import TYPE_CHECKING

if not TYPE_CHECKING:  # with __getattr__, a type checker would accept any name

    def __getattr__(name: str):
        """Raise ImportError that says where a public name is, else AttributeError."""
        import importlib
        from importlib.util import find_spec

        if not name.startswith("_") and find_spec(f"clr.{name}") is None:
            for module in ("clr.policies", "clr.scheduler", "clr.range_test"):
                if name in importlib.import_module(module).__all__:
                    raise ImportError(f"{name} is in {module}: from {module} import {name}")
        raise AttributeError(f"module 'clr' has no attribute {name!r}")
