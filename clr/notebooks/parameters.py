"""A notebook's parameters: the literals of its cell tagged `parameters`.

Each is written `name: type = value  # help`. papermill can replace the values, but it only
warns of an unknown name and accepts any type; the checks here refuse both.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path

import yaml

_TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list}


def _problem(name: str, value, kind: str) -> str | None:
    """What is wrong with a value for a parameter of that type, or None."""
    if kind not in _TYPES:
        raise TypeError(f"parameter {name} has the type {kind}; use one of {', '.join(_TYPES)}")
    accepted = (float, int) if kind == "float" else _TYPES[kind]
    if isinstance(value, accepted) and (kind == "bool" or not isinstance(value, bool)):
        return None
    hint = ""
    if isinstance(value, str) and kind in ("int", "float"):
        with suppress(ValueError, OverflowError):
            number = float(value) if kind == "float" else int(float(value))
            text = repr(number)
            if "." not in text:  # YAML reads 1e-05 as text, too
                text = text.replace("e", ".0e")
            if number == float(value) and yaml.safe_load(text) == number:
                hint = f" (YAML reads {value} as text; write {text})"
    return f"{name} must be {kind}; got {value!r}{hint}"


def check(values: dict, kinds: dict[str, str], where: str):
    """ValueError naming every unknown or ill-typed parameter and the valid ones."""
    problems = [f"unknown parameter {name}" for name in values if name not in kinds]
    known = ((name, values[name]) for name in values if name in kinds)
    problems += [p for name, value in known if (p := _problem(name, value, kinds[name]))]
    if problems:
        valid = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise ValueError(f"{where}: {'; '.join(problems)}. Valid parameters: {valid}")


def declared(source: str) -> dict[str, str]:
    """{name: type} of a parameters cell's source."""
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign)
    }


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
    """The parameters in a YAML file, checked; ValueError, naming the file, if they are bad."""
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold 'name: value' lines; got {values!r}")
    check(values, kinds, str(path))
    return values
