import base64
import io
import itertools

import nbformat
import numpy as np
from PIL import Image

from clr.notebooks.pages import SmallFigures

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
