"""A notebook's parameters: the literals of its cell tagged `parameters`.

Each is written `name: type = value  # help`. papermill can replace the values, but it only
warns of an unknown name and accepts any type; the checks here refuse both.
"""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

from clr.checks import text_hint

_TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list}


def declared(notebook: Path) -> dict[str, str]:
    """{name: type} of the parameters of a notebook."""
    from papermill import inspect_notebook  # not at the top: notebooks import this module

    found = inspect_notebook(notebook)
    return {name: parameter["inferred_type_name"] for name, parameter in found.items()}


def check(values: dict, kinds: dict[str, str], where: str):
    """ValueError naming every unknown or ill-typed parameter and the valid ones."""
    problems = [f"unknown parameter {name}" for name in values if name not in kinds]
    problems += [
        f"{name} must be {kind}; got {values[name]!r}{_hint(values[name], kind)}"
        for name, kind in kinds.items()
        if name in values and not _fits(values[name], kind)
    ]
    if problems:
        valid = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise ValueError(f"{where}: {'; '.join(problems)}. Valid parameters: {valid}")


def _fits(value, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "bool")


def _hint(value, kind: str) -> str:
    """How to give a number that came as text."""
    if kind not in ("int", "float"):
        return ""
    more = "; papermill passes numbers with -p, text with -r"
    return text_hint(value, int if kind == "int" else float, more)


def check_notebook(namespace: dict):
    """Check what papermill injected: called with `globals()` right after the parameters.

    Raises ValueError for a name the parameters cell does not declare or a value
    that is not of the declared type, naming the valid ones.
    """
    annotations = namespace.get("__annotations__")
    if annotations is None:  # Python 3.14 on: kept as a function
        annotations = namespace["__annotate__"](1)
    kinds = {name: getattr(kind, "__name__", str(kind)) for name, kind in annotations.items()}
    injected = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters\n")]
    names = [
        target.id
        for cell in injected
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    check({name: namespace[name] for name in [*kinds, *names]}, kinds, "parameters")


def from_file(path: Path, kinds: dict[str, str]) -> dict:
    """The parameters in a YAML file; ValueError, naming the file, if they are bad."""
    with path.open(encoding="utf-8") as file:
        values = yaml.safe_load(file) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold 'name: value' lines; got {values!r}")
    check(values, kinds, str(path))
    return values
