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

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
NUMBERED = [path for path in ALL if path.name[0].isdigit()]
# An appendix is executed and checked like a numbered notebook, but it stands in no order, has
# no files of parameters, and `clr run` leaves it out.
WRITTEN = NUMBERED + [path for path in ALL if path.name.startswith("appendix_")]
HEADINGS = ["What we saw", "On your machine", "Check yourself", "On your own", "References"]
LIVE = "## On your machine"  # what follows is trained here; what stands before is recorded
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
    assert path.stat().st_size < 400_000
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "jupyter", "mystnb"}


@pytest.mark.parametrize(
    "path", [*ALL, *NOTEBOOKS.glob("exercises/*.ipynb")], ids=lambda path: path.stem
)
def test_it_says_that_it_is_python_but_not_which(path):
    """So nbconvert writes a script NAME.py, and another Python does not change the file."""
    _, resources = ScriptExporter().from_filename(str(path))
    assert resources["output_extension"] == ".py"
    assert "version" not in nbformat.read(path, as_version=4).metadata.language_info


@each
def test_a_captioned_cell_shows_one_thing(path):
    """The book gives the caption, and its name, to each thing that the cell shows."""
    captioned = [cell for cell in cells(path) if "mystnb" in cell.metadata]
    shown = [sum("data" in output for output in cell.outputs) for cell in captioned]
    assert set(shown) <= {1}


@each
def test_no_cell_drops_a_table(path):
    """JupyterLab shows only the value of the last statement of a cell."""
    for cell in cells(path):
        for statement in ast.parse(cell.source).body[:-1]:
            if isinstance(statement, ast.Expr):
                shown = re.match(
                    r"(tables|widgets|HTML|Markdown|Box)\b", ast.unparse(statement)
                )
                assert not shown, f"{cell.id}: {ast.unparse(statement)}"


@each
def test_outputs_hold_no_errors_paths_or_vector_images(path):
    for output in outputs(path):
        assert output.output_type != "error" and output.get("name") != "stderr"
        assert "image/svg+xml" not in output.get("data", {})
    for text in re.findall(r'"text(?:/plain|/html)?": \[[^]]*\]', path.read_text()):
        assert not re.search(r"/(home|Users|root|work|tmp)/", text)


def title_of(path):
    return cells(path, "markdown")[0].source.splitlines()[0]


def tags(cell):
    return cell.metadata.get("tags", [])


def parts(notebook):
    """The cells about recorded runs, and those of the part that trains on this machine."""
    (at,) = [i for i, cell in enumerate(notebook.cells) if cell.source.startswith(LIVE)]
    return notebook.cells[:at], notebook.cells[at:]


@each_written
def test_it_opens_with_its_answer(path):
    """Title, folded set-up, and the box with question, answer and how sure it is."""
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith("# ")
    first = next(c for c in notebook.cells if f'Box("{path.stem}")' in c.source)
    before = notebook.cells[1 : notebook.cells.index(first)]
    assert all(c.cell_type == "code" and "hide-cell" in tags(c) for c in before)
    assert "hide-input" in tags(first)
    (box,) = [output.data["text/markdown"] for output in first.outputs]
    assert re.findall(r"\*\*(.+?)\.\*\*", box) == ["Question", "What we found", "How sure"]


@each_written
def test_its_sections_are_in_order(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    places = [found.index(heading) for heading in HEADINGS]
    assert places == sorted(places)


@each_written
def test_it_is_short_and_its_findings_are_few(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert len(text.split()) <= 2_000
    seen = re.split(r"^## ", text, flags=re.MULTILINE)
    (seen,) = [part for part in seen if part.startswith("What we saw")]
    assert 1 <= len(re.findall(r"^\* ", seen.split("<details>")[0], re.MULTILINE)) <= 5


@each_written
def test_each_figure_has_a_caption_a_name_and_a_text_for_those_who_do_not_see_it(path):
    for cell in cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            about = cell.metadata["mystnb"]
            assert about["figure"]["name"].startswith("fig-")
            assert len(about["figure"]["caption"]) > 20 and len(about["image"]["alt"]) > 20


@each_numbered
def test_one_figure_and_the_readers_runs_are_for_the_front_page(path):
    code = cells(path)
    (main,) = [cell for cell in code if "main-figure" in tags(cell)]
    assert any("image/png" in output.get("data", {}) for output in main.outputs)
    assert len([cell for cell in code if "your-runs" in tags(cell)]) <= 1


@each_written
def test_each_open_table_has_a_caption_and_a_name(path):
    for cell in cells(path):
        html = "".join(o.get("data", {}).get("text/html", "") for o in cell.outputs)
        if "<table" in html and "<details" not in html and "clr-widget" not in html:
            about = cell.metadata["mystnb"]["figure"]
            assert about["name"].startswith("table-") and len(about["caption"]) > 20


def test_names_of_figures_are_different():
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in WRITTEN
        for cell in cells(path)
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    assert len(names) == len(set(names))


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
def test_a_folded_cell_at_the_top_declares_the_parameters(path):
    _, first, second = cells(path)[:3]
    assert "parameters" in first.metadata.tags and "hide-cell" in first.metadata.tags
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


def test_only_what_is_made_on_this_machine_is_let_off():
    for path in WRITTEN:
        recorded, _ = parts(nbformat.read(path, as_version=4))
        let_off = [c for c in recorded if "nbval-ignore-output" in tags(c)]
        assert not [c for c in let_off if "Store" in c.source], path.stem


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


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"iteratoins": 5}, "unknown parameter iteratoins. Valid parameters: experiment: str"),
        ({"iterations": "many"}, "iterations must be int; got 'many'"),
        ({"dataset": "cifar11"}, "dataset must be one of digits"),
    ],
)
def test_bare_papermill_stops_at_a_bad_parameter(values, says, tmp_path, store):
    path = NOTEBOOKS / "02_lr_range_test.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match=says):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", values, progress_bar=False)
    assert not store.exists()


def setup(path):
    """The cell that finds the package, or brings it."""
    return cells(path)[0].source


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
