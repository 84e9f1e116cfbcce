import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from nbconvert.exporters import ScriptExporter

from clr.notebooks import parameters
from clr.notebooks.execution import NOTEBOOKS
from clr.paths import ROOT
from clr.training import Training

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
NUMBERED = [path for path in ALL if path.name[0].isdigit()]
# An appendix is executed and checked like a numbered notebook, but it stands in no order, has
# no files of parameters, and `clr run` leaves it out.
WRITTEN = NUMBERED + [path for path in ALL if path.name.startswith("appendix_")]
HEADINGS = [
    "The idea",
    "Predict",
    "Run it",
    "What we saw",
    "Check yourself",
    "On your own",
    "Fine print",
    "References",
]
TINY = {
    "01_schedule_math": {"iterations": 20},
    "02_lr_range_test": {
        "experiment": "own", "dataset": "digits",
        "iterations": 30, "seeds": 2, "test_every": 2,
    },
    "03_cifar10_policies": {
        "experiment": "own", "dataset": "digits",
        "iterations": 8, "stepsize": 2, "seeds": 2, "test_every": 4,
    },
    "04_super_convergence": {
        "experiment": "own", "dataset": "digits",
        "cycle": 8, "seeds": 2, "test_every": 4,
    },
    "05_other_solvers": {
        "experiment": "own", "dataset": "digits",
        "iterations": 8, "stepsize": 2, "seeds": 1, "test_every": 4,
    },
    "06_worth_it": {"rates": 2, "iterations": 8},
    "07_scoreboard": {"papers": "CLR", "live": False},  # nbval executes it with True
}  # fmt: skip
each = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
each_written = pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
each_numbered = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def outputs(path):
    return [output for cell in cells(path) for output in cell.outputs]


@each
def test_valid_executed_in_order_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 300_000
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}


@pytest.mark.parametrize(
    "path", [*ALL, *NOTEBOOKS.glob("exercises/*.ipynb")], ids=lambda path: path.stem
)
def test_it_says_that_it_is_python_but_not_which(path):
    """So nbconvert writes a script NAME.py, and another Python does not change the file."""
    _, resources = ScriptExporter().from_filename(str(path))
    assert resources["output_extension"] == ".py"
    assert "version" not in nbformat.read(path, as_version=4).metadata.language_info


@each
def test_outputs_hold_no_errors_paths_or_vector_images(path):
    for output in outputs(path):
        assert output.output_type != "error" and output.get("name") != "stderr"
        assert "image/svg+xml" not in output.get("data", {})
    for text in re.findall(r'"text(?:/plain|/html)?": \[[^]]*\]', path.read_text()):
        assert not re.search(r"/(home|Users|root|work|tmp)/", text)


@each
def test_skeleton(path):
    text = [cell.source for cell in cells(path, "markdown")]
    assert text[0].startswith("# ") and "> **Claim.**" in text[0]
    assert all(f"**You will {word}:**" in text[1] for word in ("do", "learn"))
    assert "**You need:**" in text[1]
    found = re.findall(r"^## (.+)$", "\n".join(text), re.MULTILINE)
    places = [next((i for i, f in enumerate(found) if f.startswith(h)), None) for h in HEADINGS]
    assert None not in places and places == sorted(places)
    assert re.search(r"\*\*[Nn]ot\*\*", "\n".join(text))  # what did not reproduce


@each
def test_code_cells_are_short(path):
    lines = [
        [line for line in cell.source.splitlines() if line.strip()] for cell in cells(path)
    ]
    assert max(len(cell.source.splitlines()) for cell in cells(path)) <= 25
    assert max(len(line) for cell in lines for line in cell) <= 76
    sizes = sorted(len(cell) for cell in lines)
    assert sizes[len(sizes) // 2] <= 9


def test_a_notebook_is_numbered_or_an_appendix_or_the_template():
    assert {path.name for path in ALL} - {path.name for path in WRITTEN} == {"_template.ipynb"}


@each_written
def test_words_and_code_are_balanced(path):
    assert 1.1 <= len(cells(path, "markdown")) / len(cells(path)) <= 1.8


@each
def test_the_first_code_cell_declares_the_parameters(path):
    first, second = cells(path)[:2]
    assert first.metadata.tags == ["parameters"]
    tree = ast.parse(first.source).body
    assert all(isinstance(node, ast.AnnAssign) for node in tree)
    assert all(isinstance(ast.literal_eval(node.value), int | float | str) for node in tree)
    assert all("  # " in line for line in first.source.splitlines())
    assert "check_notebook(globals())" in second.source
    assert list(parameters.declared(path)) == [node.target.id for node in tree]


def test_no_definition_appears_in_two_notebooks():
    names = [
        node.name
        for path in WRITTEN
        for cell in cells(path)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert len(names) == len(set(names))


def test_only_cells_that_print_the_machine_are_let_off():
    for path in WRITTEN:
        let_off = [
            c for c in cells(path) if "nbval-ignore-output" in c.metadata.get("tags", [])
        ]
        assert len(let_off) == 1 and "torch.__version__" in let_off[0].source
        assert {tag for c in cells(path) for tag in c.metadata.get("tags", [])} == {
            "parameters",
            "nbval-ignore-output",
        }


def test_links_lead_somewhere():
    for path in WRITTEN:
        for link in re.findall(
            r"\]\(([^)#]+)\)", "\n".join(c.source for c in cells(path, "markdown"))
        ):
            assert "://" in link or (path.parent / link).exists(), link


@pytest.mark.parametrize(
    "file", sorted(NOTEBOOKS.glob("params/*/*.yaml")), ids=lambda f: f"{f.parent.name}-{f.stem}"
)
def test_parameter_files_fit_their_notebooks(file):
    kinds = parameters.declared(NOTEBOOKS / f"{file.stem}.ipynb")
    assert parameters.from_file(file, kinds) == yaml.safe_load(file.read_text())


def test_every_set_of_parameters_covers_every_notebook():
    for folder in (NOTEBOOKS / "params").iterdir():
        assert {file.stem for file in folder.iterdir()} == {path.stem for path in NUMBERED}


@each_numbered
def test_runs_headless_with_tiny_parameters(path, tmp_path, store):
    values = TINY[path.stem] | (
        {"live": True} if path.stem[:2] in ("02", "03", "04", "05") else {}
    )
    done = papermill.execute_notebook(path, tmp_path / "out.ipynb", values, progress_bar=False)
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    figures = [o for c in code for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(figures) >= 2
    trained = len(list(store.glob("*.json"))) if store.exists() else 0
    expected = {"01": 0, "02": 2, "03": 10, "04": 6, "05": 10, "06": 4, "07": 0}
    assert trained == expected[path.stem[:2]]


@pytest.mark.parametrize("number", ["02", "03", "04"])
def test_when_nothing_is_recorded_it_says_how_to_train(number, store, monkeypatch):
    monkeypatch.setattr(Training, "run", lambda self: self)  # the small live run
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    first, *rest = cells(path)
    space = {}
    exec(first.source, space)
    space.update(TINY[path.stem])
    with pytest.raises(ValueError, match="no run of own on digits is recorded; set train=True"):
        for cell in rest:
            exec(cell.source, space)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"iteratoins": 5}, "unknown parameter iteratoins. Valid parameters: experiment: str"),
        ({"iterations": "many"}, "iterations must be int; got 'many'"),
        ({"dataset": "cifar11", "train": True}, "dataset must be one of digits"),
    ],
)
def test_bare_papermill_stops_at_a_bad_parameter(values, says, tmp_path, store):
    path = NOTEBOOKS / "02_lr_range_test.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match=says):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", values, progress_bar=False)
    assert not store.exists()


def setup(path):
    """The lines that find the package, or bring it: those before the first use of it."""
    return cells(path)[1].source.split("check_notebook(globals())")[0]


def test_every_notebook_brings_the_package_the_same_way():
    assert len({setup(path) for path in ALL}) == 1


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a repository to clone")
def test_without_the_package_it_is_cloned(tmp_path):
    script = f"""
import builtins, sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.path = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
builtins.input = lambda question: {str(ROOT)!r}
{setup(ALL[-1])}
import clr
print(clr.__path__[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(Path("companion") / "clr"))
