"""Executed notebooks as HTML that needs no network: formulas as MathML, figures inside."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from PIL import Image
from pygments.formatters import HtmlFormatter

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
  max-width: 52rem; padding: 1rem; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.2rem; } a { color: #0b62a4; }
a.anchor-link, .prompt { display: none; }
pre { font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; margin: 0; }
.input_area { background: #f6f7f9; border-left: 3px solid #c9d3df; padding: .6rem .8rem;
  margin: .7rem 0; }
.input_area .highlight { background: none; }
.output { margin: .7rem 0; } .output_stderr { background: #fdf1f0; }
code { background: #f1f2f4; padding: 0 .2em; } pre code { background: none; padding: 0; }
img { max-width: 100%; height: auto; }
blockquote { border-left: 3px solid #d9a441; margin: 1rem 0; padding: .1rem 1rem;
  background: #fdf9f0; }
.output_html, .text_cell_render { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: .6rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left; }
math[display="block"] { margin: .8rem 0; overflow-x: auto; }
.failed pre { white-space: pre-wrap; }
.failed { border-left: 4px solid #b3261e; background: #fdf1f0; padding: .5rem 1rem; }
"""


class _Renderer(IPythonRenderer):
    """Markdown with its formulas as MathML, which browsers draw without scripts."""

    def inline_math(self, body: str) -> str:
        return convert(body)

    def block_math(self, body: str) -> str:
        return convert(body, display="block")


class _Exporter(HTMLExporter):
    def markdown2html(self, context, source):
        return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)

    # this mark tells nbconvert that the filter takes the template's context
    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg


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


def _page(title: str, body: str) -> str:
    colours = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{colours}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def title(notebook) -> str:
    """The first heading of a notebook."""
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1].strip()


def write_notebook(path: Path) -> str:
    """Write NAME.html and figures/NAME-1.png, … beside the executed notebook at `path`.

    Returns its entry for the index, as HTML.
    """
    notebook = nbformat.read(path, as_version=4)
    body, _ = _Exporter(template_name="basic").from_notebook_node(notebook)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)
    page = path.with_suffix(".html")
    page.write_text(
        _page(title(notebook), f'<p><a href="index.html">All notebooks</a></p>{body}'),
        encoding="utf-8",
    )
    folder, images = path.parent / "figures", []
    folder.mkdir(exist_ok=True)
    for stale in folder.glob(f"{path.stem}-*.png"):
        stale.unlink()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                image = folder / f"{path.stem}-{len(images) + 1}.png"
                image.write_bytes(base64.b64decode(png))
                images.append(
                    f'<img src="figures/{image.name}" alt="{escape(title(notebook))}">'
                )
    heading = f'<h2><a href="{page.name}">{escape(title(notebook))}</a></h2>'
    return heading + "".join(f"<p>{image}</p>" for image in images)


def failed(folder: Path, name: str, message: str) -> str:
    """The index entry of a notebook that failed, with a link to the notebook so far."""
    file, link = folder / f"{name}.failed.ipynb", ""
    if file.exists():
        link = f'<p><a href="{file.name}">{file.name}</a> shows how far it came.</p>'
    heading = f"<h2>{escape(name)} failed</h2>"
    return f'<div class="failed">{heading}<pre>{escape(message)}</pre>{link}</div>'


def write_index(folder: Path, heading: str, entries: list[str]) -> Path:
    """Write index.html: every notebook's entry, in order."""
    index = folder / "index.html"
    index.write_text(_page(heading, f"<h1>{escape(heading)}</h1>" + "".join(entries)), "utf-8")
    return index
