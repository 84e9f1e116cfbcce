"""The package's folders stand in an order, and imports point downwards in it."""

import ast

import pytest

from clr.paths import ROOT

ORDER = [
    ("checks", "files", "paths", "printing", "interrupts"),
    ("policies", "groups"),
    ("scheduler",),
    ("range_test",),
    ("training",),
    ("runs",),
    ("papers",),
    ("notebooks",),
    ("bench",),
    ("cli",),
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
FILES = sorted((ROOT / "clr").rglob("*.py"))


def part(path):
    """The folder or module of the package that a file belongs to."""
    return path.relative_to(ROOT / "clr").parts[0].removesuffix(".py")


def imported(path):
    """The folders and modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "clr":
            names = [f"clr.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: imports say where from, not how far up"
            names = [node.module]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("clr."))


def test_every_part_of_the_package_has_its_level():
    assert {part(path) for path in FILES} - {"__init__", "__main__"} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_points_upwards(path):
    if part(path) in LEVEL:
        above = {name for name in imported(path) if LEVEL[name] > LEVEL[part(path)]}
        assert not above, f"{part(path)} imports {sorted(above)}, which stand above it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_stay_in_their_module(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clr"):
            assert not [a.name for a in node.names if a.name.startswith("_")]
