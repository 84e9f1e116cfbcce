import contextlib
import io
import re

from clr.data import ROOT
from clr.notebooks import NOTEBOOKS

README = (ROOT / "README.md").read_text()


def test_its_code_runs_and_prints_what_it_says():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    said = re.search(r"print\(.*#\s+(.+)$", code, re.MULTILINE)[1]
    assert printed.getvalue().strip() == said


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links and all("://" in link or (ROOT / link).exists() for link in links)


def test_it_lists_every_notebook():
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        assert f"notebooks/{path.name}" in README
