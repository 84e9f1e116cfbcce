"""Code in a docstring, which is an indented paragraph there, as code in the book."""


def _indented(line: str) -> bool:
    return line.startswith("    ")


def as_code(app, what, name, obj, options, lines: list[str]):
    """Mark every indented paragraph as code."""
    marked, in_code = [], False
    for i, line in enumerate(lines):
        if line.strip() and not _indented(line):
            in_code = False
        begins = _indented(line) and not in_code and (i == 0 or not lines[i - 1].strip())
        if begins:
            marked += ["::", ""]
            in_code = True
        marked.append(line)
    lines[:] = marked


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
