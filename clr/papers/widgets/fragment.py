"""What every widget is made of: a style, a still figure, the data as JSON, and a script."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
_STYLE = {
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "clr",  # the same names inside the image each time
    "path.simplify_threshold": 0.5,
}


def source(name: str) -> str:
    """The text of one of the files beside this one."""
    return (HERE / name).read_text("utf-8")


def as_json(data: object) -> str:
    """Data as JSON that can stand in a script element of a page."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def look():
    """A context in which still figures look the same, whatever the style of other figures."""
    return style.context(("default", _STYLE))


def still(rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of the size of a widget, and its axes, one below the other."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    ratios = [1] * (rows - 1) + [rows]
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def image(figure: Figure) -> str:
    """A figure as the address of an image that is part of the page.

    Its coordinates have one decimal of a point, which halves its size.
    """
    buffer = io.StringIO()
    with look():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub('="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r"\n *", "\n", svg)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def page_part(
    name: str, title: str, data: dict, scripts: Sequence[str], figure: Figure, alt: str
) -> str:
    """`part` with a figure to be seen without scripts; `alt` describes it."""
    still = (
        f'<figure class="clr-still"><img alt="{escape(alt)}" src="{image(figure)}">'
        f"<figcaption>{escape(alt)} Where scripts run, it is interactive."
        "</figcaption></figure>"
    )
    return part(name, title, data, scripts, still)


def part(
    name: str,
    title: str,
    data: dict,
    scripts: Sequence[str],
    still: str,
    styles: Sequence[str] = (),
) -> str:
    """One widget as HTML.

    `scripts` are the names of its script files, of which the last one defines the function
    `start(root, data)`; `styles` are those of its own style files. `still` is an HTML element
    of the class `clr-still`, which is seen without scripts. The text depends on nothing else,
    so it is the same each time.
    """
    content = as_json(data)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    code = "\n".join(source(each) for each in ("shared.js", *scripts))
    css = "".join(source(each) for each in ("shared.css", *styles))
    # A page can hold the same widget twice: each copy is started once.
    start = (
        f'for (const root of document.querySelectorAll(\'[data-clr-widget="{name}-{digest}"]'
        ":not([data-started])')) begin(root, start);"
    )
    return (
        f'<section class="clr-widget clr-{name}" data-clr-widget="{name}-{digest}" '
        f'aria-label="{escape(title)}">\n'
        f"<style>\n{css}</style>\n"
        f'<p class="clr-title">{escape(title)}</p>\n'
        '<div class="clr-live"></div>\n'
        f"{still}\n"
        f'<script type="application/json">{content}</script>\n'
        f"<script>\n(() => {{\n{code}\n{start}\n}})();\n</script>\n</section>\n"
    )
