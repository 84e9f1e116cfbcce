"""Constructors in the API with their arguments, and without their types.

The types of a policy's fields hold the functions that check them, which tell a reader nothing.
"""

import inspect


def _shown(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter without its type; a default that is a function goes by its name."""
    default = parameter.default
    if inspect.isfunction(default):
        default = _Name(default.__name__)
    return parameter.replace(annotation=inspect.Parameter.empty, default=default)


class _Name(str):
    """A text whose repr has no quotation marks."""

    __repr__ = str.__str__


def of_classes(app, what, name, obj, options, signature, returns):
    """The signature of a class; None leaves any other as it is."""
    if what != "class":
        return None
    found = inspect.signature(obj)
    parameters = [_shown(each) for each in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=found.empty)), None


def no_defaults(app, what, name, obj, skip, options):
    """A field whose default is a function is not a method: leave it out."""
    return True if inspect.isfunction(obj) and obj.__name__ != name else None


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", of_classes)
    app.connect("autodoc-skip-member", no_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
