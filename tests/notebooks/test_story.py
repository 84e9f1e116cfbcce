"""Each notebook tells one story: the recorded one first, then the reader's, on any data.

The notebooks are executed with each set of parameters. Trainings are replaced by made-up runs
of the same configs, since only the pages are looked at here.
"""

import re

import nbformat
import papermill
import pytest
import yaml
from test_notebooks import LIVE, NUMBERED, parts, tags

from clr.notebooks.execution import NOTEBOOKS
from clr.paths import ROOT

MADE_UP = f"""
import sys

sys.path.insert(0, {str(ROOT / "tests" / "papers")!r})
import made

made.replace_trainings()
"""
SETS = sorted(folder.name for folder in (NOTEBOOKS / "params").iterdir())


@pytest.fixture(scope="module", params=SETS)
def executed(request, tmp_path_factory):
    """{name: notebook}, executed with a set of parameters and made-up runs."""
    folder, done = tmp_path_factory.mktemp(request.param), {}
    for path in NUMBERED:
        notebook = nbformat.read(path, as_version=4)
        at = next(i for i, cell in enumerate(notebook.cells) if "Box(" in cell.source)
        notebook.cells.insert(at, nbformat.v4.new_code_cell(MADE_UP))
        nbformat.write(notebook, folder / path.name)
        file = NOTEBOOKS / "params" / request.param / f"{path.stem}.yaml"
        values = yaml.safe_load(file.read_text()) or {}
        done[path.stem] = papermill.execute_notebook(
            folder / path.name, folder / f"{path.stem}.out.ipynb", values, progress_bar=False
        )
    return done


def shown(cells):
    """What cells show, as text: figures by their kind alone."""
    found = []
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            found += [
                kind if kind.startswith("image") else re.sub(r"0x[0-9a-f]+", "", text)
                for kind, text in sorted(data.items())
                if isinstance(text, str)
            ]
    return found


def test_the_recorded_part_does_not_depend_on_the_parameters(executed):
    for name, notebook in executed.items():
        committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        there, here = ({c.id: c for c in parts(each)[0]} for each in (committed, notebook))
        same = [i for i in there if "nbval-ignore-output" not in tags(there[i])]
        assert shown(there[i] for i in same) == shown(here[i] for i in same), name


def test_no_table_is_empty_and_no_announced_figure_is_missing(executed):
    for name, notebook in executed.items():
        for cell in notebook.cells:
            text = re.sub(r"<script.*?</script>", "", "\n".join(shown([cell])), flags=re.S)
            for body in re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL):
                assert "<tr" in body, f"{name}: an empty table\n{cell.source}"
            if "figure" in cell.metadata.get("mystnb", {}):
                found = "image/png" in text or "<table" in text
                assert found, f"{name}: no figure and no table\n{cell.source}"
            assert "<Figure size" not in text or "image/png" in text


def test_the_part_trained_here_ends_with_what_these_runs_showed(executed):
    for name, notebook in executed.items():
        cells = [cell for cell in notebook.cells if "your-runs" in tags(cell)]
        if name[:2] in ("03", "04", "05", "06"):
            ((output,),) = (cell.outputs for cell in cells)
            assert re.search(r"[Yy]our runs", output.data["text/markdown"]), name


def test_its_sentences_are_true_for_any_data():
    for path in NUMBERED:
        _, live = parts(nbformat.read(path, as_version=4))
        end = next(i for i, c in enumerate(live) if c.source.startswith("## Check yourself"))
        text = "\n".join(c.source for c in live[:end] if c.cell_type == "markdown")
        assert text.startswith(LIVE)
        assert not re.search(r"\d+(\.\d+)? ?(%|points)", text), path.stem
