"""A notebook's links to other folders of the repository lead to the pages of the book."""

from clr.papers import runs_page

PLACES = {"../docs/": "../", "../data/README.md": "../data.md"}


def _move(app, name, source):
    """Change the links in a notebook that is being read."""
    if name.startswith("notebooks/"):
        for there, here in PLACES.items():
            source[0] = source[0].replace(f"]({there}", f"]({here}")
        source[0] = source[0].replace(runs_page.INDEX, f"../{runs_page.PAGE}?")


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _move)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
