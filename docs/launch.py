"""Links that open a chapter in Colab or Binder, from the repository that publishes the book.

In a workflow of GitHub, the environment says which repository that is; elsewhere there are no
links.
"""

import os

from docutils import nodes


def _add(app, document):
    """Put the links below the title of a chapter."""
    repository, name = os.environ.get("GITHUB_REPOSITORY"), app.env.docname
    if not repository or not name.startswith("notebooks/"):
        return
    branch = os.environ.get("GITHUB_REF_NAME", "main")
    places = {
        "Colab": f"colab.research.google.com/github/{repository}/blob/{branch}/{name}.ipynb",
        "Binder": f"mybinder.org/v2/gh/{repository}/{branch}?labpath={name}.ipynb",
    }
    line = nodes.paragraph(classes=["launch"])
    line += nodes.Text("Open in ")
    for i, (title, address) in enumerate(places.items()):
        line += [nodes.Text(" or ")] * bool(i)
        line += nodes.reference("", title, refuri=f"https://{address}")
    title = document.next_node(nodes.title)
    if title is not None:
        title.parent.insert(title.parent.index(title) + 1, line)


def setup(app):
    """Called by Sphinx."""
    app.connect("doctree-read", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
