import base64
import io
import itertools
import re
from html import escape

import nbformat
import numpy as np
from PIL import Image

from clr.notebooks import pages
from clr.notebooks.pages import SmallFigures
from clr.papers.chapters import Box, Records
from clr.paths import ROOT

THIN = (224, 82, 156)


def figure():
    """A picture with many oranges and greys, and one thin line of another colour."""
    shades = np.linspace(0, 1, 400)[:, None, None]
    ends = np.array([[255, 255, 255], [213, 94, 0], [148, 148, 148], [255, 255, 255]])
    parts = [one + (other - one) * shades for one, other in itertools.pairwise(ends)]
    pixels = np.repeat(np.concatenate(parts), 200, axis=1).astype(np.uint8)
    pixels[:60, 100] = THIN
    return Image.fromarray(pixels)


def test_small_figures_keep_the_colour_of_a_thin_line():
    content = io.BytesIO()
    figure().save(content, "PNG")
    data = {"image/png": base64.b64encode(content.getvalue()).decode()}
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell("plt.show()", outputs=[output])
    small, _ = SmallFigures().preprocess_cell(cell, {}, 0)
    png = base64.b64decode(small.outputs[0].data["image/png"])
    shown = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 128
    assert np.abs(shown[30, 100] - THIN).max() < 16


def cell(source, *tags, outputs=(), **metadata):
    """A code cell with tags, outputs by their kind, and other metadata."""
    made = [nbformat.v4.new_output("display_data", data) for data in outputs]
    metadata = {"tags": list(tags)} | metadata
    return nbformat.v4.new_code_cell(source, outputs=made, metadata=metadata)


def chapter():
    """A notebook of a chapter, with one figure and the sentences about the reader's runs."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    png = {"image/png": base64.b64encode(content.getvalue()).decode()}
    caption = {"caption": "Accuracy <along> the runs.", "name": "fig-x"}
    about = {"figure": caption, "image": {"alt": 'A "black" square.'}}
    said = {"text/markdown": "**Your runs** reached $a_b$."}
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# 3  Train with each policy\n\nText."),
            cell("import this", "hide-cell"),
            cell("draw()", "hide-input", "main-figure", outputs=[png], mystnb=about),
            cell("say()", "your-runs", outputs=[said]),
        ]
    )


def test_the_front_page_has_the_question_the_answer_one_figure_and_the_readers_runs(tmp_path):
    nbformat.write(chapter(), tmp_path / "03_cifar10_policies.ipynb")
    pages.write(tmp_path, {}, Records())
    front = (tmp_path / "index.html").read_text()
    box = Box("03_cifar10_policies")
    assert escape(box.chapter.question) in front
    assert escape(box.chapter.found(box.records)) in front
    assert "alt='A \"black\" square.'" in front and "Accuracy &lt;along&gt;" in front
    assert (tmp_path / "figures" / "03_cifar10_policies.png").exists()
    assert "<strong>Your runs</strong> reached <math" in front


def test_a_page_folds_code_and_numbers_its_figures(tmp_path):
    notebook = chapter()
    notebook.cells.append(notebook.cells[2].copy())
    nbformat.write(notebook, tmp_path / "03_cifar10_policies.ipynb")
    pages.write(tmp_path, {}, Records())
    page = (tmp_path / "03_cifar10_policies.html").read_text()
    assert page.count('<details class="code"><summary>Code</summary>') == 3
    numbers = re.findall(r"<b>(Figure \d)\.</b> Accuracy &lt;along&gt; the runs\.", page)
    assert numbers == ["Figure 1", "Figure 2"]
    assert page.count("alt='A \"black\" square.'") == 2
    assert not re.search(r"""(src|href)=["']https?:""", page)


def test_links_lead_to_pages_or_to_the_files_of_the_project(tmp_path):
    notebook = chapter()
    links = "[n](04_super_convergence.ipynb#look) [d](../docs/verdicts.md) [p](https://a.org/x)"
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"{links} [here](#look)"))
    nbformat.write(notebook, tmp_path / "03_cifar10_policies.ipynb")
    pages.write(tmp_path, {}, Records())
    page = (tmp_path / "03_cifar10_policies.html").read_text()
    found = re.findall(r'<a href="([^"]+)">(?:n|d|p|here)<', page)
    assert found[0] == "04_super_convergence.html#look"
    assert (tmp_path / found[1]).resolve() == ROOT / "docs" / "verdicts.md"
    assert found[2:] == ["https://a.org/x", "#look"]
