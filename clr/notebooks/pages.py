"""Executed notebooks as HTML that needs no network: formulas as MathML, figures inside."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat.v4 import new_notebook
from PIL import Image
from traitlets.config import Config

from clr import files
from clr.papers import runs_page
from clr.papers.chapters import CHAPTERS, Records
from clr.paths import NOTEBOOKS


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, which browsers draw without scripts.

    Links to other notebooks lead to their pages in `folder`, and links to other files of the
    project to where these are.
    """

    def __init__(self, folder: Path):
        super().__init__(escape=False, exclude_anchor_links=True)
        self._folder = folder

    def inline_math(self, body: str) -> str:
        return convert(body)

    def block_math(self, body: str) -> str:
        return convert(body, display="block")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        file, mark, place = url.partition("#")
        if re.fullmatch(r"\d\d_\w+\.ipynb", file):
            file = f"{file.removesuffix('.ipynb')}.html"
        elif file and ":" not in file:
            file = Path(os.path.relpath(NOTEBOOKS / file, self._folder)).as_posix()
        return super().link(text, file + mark + place, title)


def _markdown(folder: Path) -> Callable[[str], str]:
    """What makes HTML of Markdown, for a page in `folder`."""
    return MarkdownWithMath(renderer=_Renderer(folder)).render


class SmallFigures(Preprocessor):
    """nbconvert's last step for the committed notebooks: figures with at most 128 colours.

    Lines and text look the same, and the files have a third of the size. Pillow's octree keeps
    the colour of a thin line; its default method may give it that of another line.
    """

    def preprocess_cell(self, cell, resources, index):
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                small, figure = io.BytesIO(), Image.open(io.BytesIO(base64.b64decode(png)))
                few = figure.convert("RGB").quantize(128, Image.Quantize.FASTOCTREE)
                few.save(small, "PNG", optimize=True)
                output.data["image/png"] = base64.b64encode(small.getvalue()).decode() + "\n"
        return cell, resources


def _exporter(folder: Path) -> HTMLExporter:
    """What makes a page of a notebook in `folder`, by the templates beside this file."""
    return HTMLExporter(
        template_file=str(Path(__file__).with_name("page.html.j2")),
        template_name="classic",
        extra_template_basedirs=[],
        filters={"markdown2html": _markdown(folder)},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        config=Config({"CSSHTMLHeaderPreprocessor": {"style": "friendly"}}),
    )


def _title(notebook) -> str:
    """The first heading of a notebook."""
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1].strip()


def _tagged(notebook, tag: str) -> list:
    """The cells with a tag."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def _output(cells, kind: str):
    """The first output of this MIME type of some cells, and its cell's `mystnb` metadata."""
    for cell in cells:
        for output in cell.get("outputs", []):
            if kind in output.get("data", {}):
                return output.data[kind], cell.metadata.get("mystnb", {})
    return None, {}


def _summary(folder: Path, name: str, notebook, records: Records) -> dict:
    """What the front page says of a chapter: its answer, its main figure, the reader's runs."""
    figure, about = _output(_tagged(notebook, "main-figure"), "image/png")
    if figure:
        files.write(folder / "figures" / f"{name}.png", base64.b64decode(figure))
    yours, _ = _output(_tagged(notebook, "your-runs"), "text/markdown")
    chapter = next((each for each in CHAPTERS if each.notebook == name), None)
    return {
        "title": _title(notebook),
        "question": chapter.question if chapter else "",
        "found": chapter.found(records) if chapter else "",
        "figure": f"figures/{name}.png" if figure else None,
        "caption": about.get("figure", {}).get("caption", ""),
        "alt": about.get("image", {}).get("alt", ""),
        "yours": _markdown(folder)(yours) if yours else None,
    }


def write(folder: Path, failures: Mapping[str, str], records: Records):
    """Write a page for each executed notebook in `folder`, and index.html: the front page.

    The front page has the question and the answer of each chapter, the figure of its cell
    tagged `main-figure`, and the sentences of its cell tagged `your-runs`.

    `failures` are the messages of the notebooks that failed, by name; `records` answer the
    questions of the chapters. Each file is written
    whole or not at all; raises OSError if one cannot be written.
    """
    notebooks = {
        path.stem: nbformat.read(path, as_version=4)
        for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))
        if not path.stem.endswith(".failed")
    }
    chapters = [
        {
            "name": name,
            "page": f"{name}.html",
            **_summary(folder, name, notebook, records),
        }
        for name, notebook in notebooks.items()
    ]
    exporter = _exporter(folder)
    neighbours = zip([None, *chapters], chapters, [*chapters[1:], None], strict=False)
    for previous, chapter, following in neighbours:
        shown = {"title": chapter["title"], "previous": previous, "next": following}
        page, _ = exporter.from_notebook_node(notebooks[chapter["name"]], shown)
        page = page.replace(runs_page.INDEX, f"../{runs_page.PAGE}?")
        files.write(folder / chapter["page"], page.encode())
    for name, message in failures.items():
        file = f"{name}.failed.ipynb"
        so_far = file if (folder / file).exists() else None
        chapters.append({"name": name, "failure": message, "so_far": so_far})
    chapters.sort(key=itemgetter("name"))
    exporter.template_file = "front.html.j2"
    shown = {"title": f"Cyclical learning rates: {folder.name}", "chapters": chapters}
    page, _ = exporter.from_notebook_node(new_notebook(), shown)
    files.write(folder / "index.html", page.encode())
