"""How Sphinx builds the book. `make book` copies this folder and the notebooks, and runs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the extensions beside this file

from clr.papers.chapters import CHAPTERS, Records
from clr.papers.readme import answers_part

project = "Cyclical learning rates"
author = "the contributors of the companion"
copyright = "the contributors; MIT licence"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "docstrings",
    "first_uses",
    "ideas_first",
    "launch",
    "mathml",
    "places",
    "signatures",
]
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]  # a cell may begin with a heading of any level

# The notebooks are shown as they are committed, with their outputs.
nb_execution_mode = "off"
nb_code_prompt_show = "Code"
nb_code_prompt_hide = "Code"
nb_ipywidgets_js = {}  # widgets of ipywidgets would fetch a script
numfig = True
myst_enable_extensions = ["dollarmath", "colon_fence", "substitution"]
_records = Records()
_rows = [
    f"| [{each.title}](notebooks/{each.notebook}.ipynb) ({each.minutes} minutes). "
    f"{each.question} | {each.found(_records)} |"
    for each in CHAPTERS
]
myst_substitutions = {
    "answers": answers_part(),
    "chapters": "\n".join(
        ["| chapter, and its question | what we found |", "|---|---|", *_rows]
    ),
}
myst_heading_anchors = 3

# The API, from the docstrings, in which `name` is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = project
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
