"""The book's search finds words of sentences, and no lines of code."""

from docutils import nodes
from sphinx.builders.html import StandaloneHTMLBuilder


class Builder(StandaloneHTMLBuilder):
    """Sphinx's builder, whose search index leaves out blocks of code."""

    def index_page(self, pagename, doctree, title):
        """Index a page without its blocks of code."""
        sentences = doctree.deepcopy()
        for block in list(sentences.findall(nodes.literal_block)):
            block.parent.remove(block)
        super().index_page(pagename, sentences, title)


def setup(app):
    """Called by Sphinx."""
    app.add_builder(Builder, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
