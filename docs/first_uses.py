"""The first use of a word of the glossary in a chapter links to it."""

import re

from docutils import nodes

GLOSSARY = "glossary"
PLAIN = {"better", "worse", "accuracy"}  # words that need no explanation where they stand


def _words(document):
    """{a word of the glossary: its row's address}, and the rows get these addresses."""
    found = {}
    for row in document.findall(nodes.row):
        entry = row.next_node(nodes.entry)
        if row.parent.tagname != "tbody":
            continue
        text = re.sub(r"\s*\(.*?\)", "", entry.astext())
        identifier = "term-" + nodes.make_id(text)
        row["ids"].append(identifier)
        for word in set(text.split(", ")) - PLAIN:
            found[word] = identifier
    return found


def _remember(app, document):
    """Keep the words of the glossary once it has been read."""
    if app.env.docname == GLOSSARY:
        app.env.glossary_words = _words(document)


def _link(app, document, name):
    """Link the first use of each word in the paragraphs of a chapter."""
    if not name.startswith("notebooks/"):
        return
    left = dict(app.env.glossary_words)
    address = app.builder.get_relative_uri(name, GLOSSARY)
    for text in list(document.findall(nodes.Text)):
        inside = text.parent
        if not isinstance(inside, nodes.paragraph):
            continue
        pattern = "|".join(re.escape(word) for word in sorted(left, key=len, reverse=True))
        parts, rest = [], text.astext()
        while left and (match := re.search(rf"\b({pattern})\b", rest)):
            word = match[1]
            uri = f"{address}#{left.pop(word)}"
            parts += [
                nodes.Text(rest[: match.start()]),
                nodes.reference("", word, refuri=uri, internal=True, classes=["term"]),
            ]
            rest = rest[match.end() :]
            pattern = "|".join(re.escape(w) for w in sorted(left, key=len, reverse=True))
        if parts:
            inside.replace(text, [*parts, nodes.Text(rest)])


def setup(app):
    """Called by Sphinx."""
    app.connect("doctree-read", _remember)
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
