"""Every command of ours that a text, a notebook or a message shows can be given."""

import ast
import re
import shlex
import shutil

import nbformat
import papermill
import pytest

from clr import bench, cli
from clr.notebooks import execution, pages
from clr.papers import EXPERIMENTS, readme, scoreboard, tables
from clr.papers.cyclical import TABLE1
from clr.paths import RECORDED, ROOT
from clr.runs import Store, export
from clr.runs import store as stores

NOTEBOOKS = sorted(execution.NOTEBOOKS.glob("[0-9]*.ipynb"))
PLACEHOLDERS = {"NAME": "rehearsal", "…": "triangular"}


def texts():
    """What readers see: the documentation, and the notebooks with their outputs."""
    for name in ("README.md", "CONTRIBUTING.md", "data/README.md"):
        yield (ROOT / name).read_text()
    for path in sorted((ROOT / "docs").glob("*.md")):
        yield path.read_text()
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                yield cell.source
            for output in cell.get("outputs", []):
                yield output.get("text", "")
                yield output.get("data", {}).get("text/plain", "")


def strings():
    """The strings in the package's sources, except the parts of f-strings."""
    for path in (ROOT / "clr").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        parts = {part for node in joined for part in ast.walk(node)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield "" if node in parts else node.value


def commands(text):
    """The arguments of every `python -m clr` in a text: in backticks, or to the line's end."""
    for paragraph in text.replace("\\\n", " ").split("\n\n"):
        code = re.findall(r"`([^`]+)`", paragraph)
        lines = re.sub(r"`[^`]+`", "", paragraph).splitlines()
        for each in code + lines:
            if found := re.search(r"python -m clr ([^#|]+)", each):
                yield " ".join(found[1].split())


SHOWN = sorted({c for text in [*texts(), *strings()] for c in commands(text)} - {"…"})


def executed(notebook, output, **_):
    """What papermill does, except that nothing is executed."""
    shutil.copy(notebook, output)
    return nbformat.read(output, as_version=4)


@pytest.fixture
def give(store, tmp_path, monkeypatch):
    """Gives a command, and returns its status; nothing is trained, measured or committed."""
    export(
        [Store.committed().search(TABLE1.config("fixed", 0, "folder:cifar10-jpeg"))],
        tmp_path / "records.tar.gz",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stores, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(readme, "write", lambda: None)
    monkeypatch.setattr(bench, "report", lambda *_, **__: ())
    monkeypatch.setattr(papermill, "execute_notebook", executed)
    monkeypatch.setattr(pages, "write", lambda folder, *_: folder)
    harmless = {"sweep": ["--list"], "run": ["--out", str(tmp_path / "results")]}

    def one(command):
        args = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
        return cli.main(args + harmless.get(args[0], []))

    return one


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_that_is_shown(give, command):
    before = sorted(RECORDED.rglob("*"))
    # in this store no run is recorded, and an export of nothing is refused
    assert give(command) == (2 if "--export" in command else 0)
    assert sorted(RECORDED.rglob("*")) == before


def test_the_commands_that_are_found_are_of_every_kind():
    kinds = {command.split()[0] for command in SHOWN}
    assert kinds == {"--help", "run", "sweep", "claims", "bench"}
    assert {"run --only 02", "sweep --record --import records.tar.gz"} <= set(SHOWN)


def test_the_commands_that_the_scoreboard_prints(give):
    text = scoreboard.as_text() + "\n\n" + scoreboard.as_markdown()
    found = set(commands(text))
    assert len(found) > 50 and {c for c in found if give(c) != 0} == set()


@pytest.mark.parametrize("name", ["table1", "tenth", "laptop"])
def test_the_command_that_notebooks_print_when_arms_are_missing(give, name):
    chosen = EXPERIMENTS[name]
    said = tables.not_run(chosen, {})
    arms = len(chosen.arms)
    assert said.startswith(f"{name}: {arms} of {arms} arms are not run")
    found = list(commands(said))
    assert len(found) == 1 and all(give(c) == 0 for c in found)
