"""What every widget is made of: a style, a still figure, the data as JSON, and a script."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from string import Template

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
MORE = {"explorer": ["policies.js"]}  # scripts beside a widget's own
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


@contextmanager
def still(rows: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of the size of a widget, and its axes, one below the other.

    It looks the same, whatever the style of other figures.
    """
    with style.context(("default", _STYLE)):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        ratios = [1] * (rows - 1) + [rows]
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
        yield figure, list(axes)


def image(figure: Figure) -> str:
    """A figure as the address of an image that is part of the page.

    Its coordinates have one decimal of a point, which halves its size.
    """
    buffer = io.StringIO()
    with style.context(("default", _STYLE)):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub('="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r"\n *", "\n", svg)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def part(name: str, title: str, data: dict, still: Figure | str, alt: str = "") -> str:
    """One widget as HTML, from the template `widget.html`.

    Its script `{name}.js` defines the function `start(root, data)`. What is seen without
    scripts is the figure `still`, which `alt` describes, or an HTML element of the class
    `clr-still`. The text depends on nothing else, so it is the same each time.
    """
    if isinstance(still, Figure):
        still = (
            f'<figure class="clr-still"><img alt="{escape(alt)}" src="{image(still)}">'
            f"<figcaption>{escape(alt)} Where scripts run, it is interactive."
            "</figcaption></figure>"
        )
    content = as_json(data)
    scripts = ["shared.js", *MORE.get(name, ()), f"{name}.js"]
    # A page can hold the same widget twice: each copy is started once.
    return Template(source("widget.html")).substitute(
        name=name,
        digest=hashlib.sha256(content.encode()).hexdigest()[:8],
        title=escape(title),
        css="".join(
            source(each) for each in ("shared.css", f"{name}.css") if (HERE / each).exists()
        ),
        still=still,
        data=content,
        code="\n".join(map(source, scripts)),
    )
