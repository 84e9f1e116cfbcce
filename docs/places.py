"""The links of a page to other folders of the repository lead to the pages of the book."""

from clr.papers import runs_page

FROM_NOTEBOOKS = {"../docs/": "../", "../data/README.md": "../data.md"}
FROM_DOCS = {"../data/README.md": "data.md"}


def _move(app, name, source):
    """Change the links in a page that is being read."""
    notebook = name.startswith("notebooks/")
    for there, here in (FROM_NOTEBOOKS if notebook else FROM_DOCS).items():
        source[0] = source[0].replace(f"]({there}", f"]({here}")
    if notebook:
        source[0] = source[0].replace(runs_page.INDEX, f"../{runs_page.PAGE}?")


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _move)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
