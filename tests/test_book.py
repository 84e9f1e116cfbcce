"""The book: it builds without a warning, holds every public name, and fetches nothing."""

import importlib
import re
from pathlib import Path

import pytest

from clr.paths import ROOT

DOCS = ROOT / "docs"
DOCUMENTED = re.findall(r"automodule:: (\S+)", (DOCS / "api.md").read_text())
PUBLIC = [
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in sorted((ROOT / "clr").rglob("__init__.py"))
    if re.search(r"^__all__ =", path.read_text(), re.MULTILINE)
]


@pytest.fixture(scope="module")
def book(made_by_make):
    """The built book, as `make book` builds it; a warning is an error."""
    return made_by_make("book") / "book"


def test_links_between_files_lead_somewhere():
    pages = [
        path
        for folder in ("", "docs", "data", "tests")
        for path in (ROOT / folder).glob("*.md")
    ]
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            there = "://" in link or link.startswith("{{") or (page.parent / link).exists()
            assert there, f"{page.relative_to(ROOT)}: {link}"


@pytest.mark.parametrize("begin", ["**The short answer**", "Each number is the mean"])
def test_the_first_page_says_what_the_readme_says(begin):
    said = []
    for page in (ROOT / "README.md", DOCS / "index.md"):
        found = [each for each in page.read_text().split("\n\n") if each.startswith(begin)]
        assert len(found) == 1, page
        said.append(found[0].split())
    assert said[0] == said[1]


def test_every_package_with_public_names_is_in_the_api():
    assert set(PUBLIC) <= set(DOCUMENTED)


def test_it_holds_every_public_name(book):
    page = (book / "api.html").read_text()
    for module in DOCUMENTED:
        for name in getattr(importlib.import_module(module), "__all__", ()):
            value = getattr(importlib.import_module(module), name)
            # a name is described where it is listed, a constant too if it has a comment
            if callable(value):
                assert f'id="{module}.{name}"' in page, f"{module}.{name}"


def test_chapters_and_exercises_are_in_order(book):
    links = re.findall(r'href="(notebooks/[^"#]+)"', (book / "index.html").read_text())
    order = list(dict.fromkeys(links))
    chapters = [link for link in order if re.match(r"notebooks/\d", link)]
    exercises = [link for link in order if "exercises" in link]
    assert chapters == sorted(chapters) and exercises == sorted(exercises)
    sources = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert {Path(link).stem for link in chapters} == sources
    assert len(exercises) == len(list((ROOT / "notebooks" / "exercises").glob("*.ipynb")))


def test_the_exercises_are_the_students_versions(book):
    for page in (book / "notebooks" / "exercises").glob("*.html"):
        assert "write your answer here" in page.read_text()
        assert "BEGIN SOLUTION" not in page.read_text()


def test_no_page_fetches_anything_and_formulas_are_mathml(book):
    pages = list(book.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', text)
        fetched += re.findall(
            r'<link[^>]+rel="(?:stylesheet|preload)"[^>]+href="([^"]+)"', text
        )
        assert not [address for address in fetched if re.match(r"(https?:)?//", address)]
    for sheet in book.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//", sheet.read_text())
    assert "<math " in (book / "notebooks" / "01_schedule_math.html").read_text()


def test_it_has_the_page_of_all_runs(book):
    assert "{{" not in (book / "runs.html").read_text()
    for page in ("index.html", "many_runs.html"):
        assert 'href="runs.html"' in (book / page).read_text()


def test_search_finds_words_of_the_chapters(book):
    index = (book / "searchindex.js").read_text()
    assert '"triangular"' in index or "triangular:" in index


def test_the_workflow_publishes_what_make_builds_and_names_no_address():
    text = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    assert "make book" in text and "path: results/book" in text
    assert "://" not in text
