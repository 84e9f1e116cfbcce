"""README.ko.md says what README.md says: the same commands, and no number of its own.

When README.md changes, a failure here names what has to change in README.ko.md.
"""

import re

from clr.papers.readme import answers_part
from clr.paths import ROOT

ENGLISH = (ROOT / "README.md").read_text()
KOREAN = (ROOT / "README.ko.md").read_text()


def commands(text):
    """The lines of the code blocks, indented or fenced as sh, without their comments."""
    indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    fenced = re.findall(r"```(?:sh|bash)?\n(.*?)```", text, re.DOTALL)
    lines = indented + "\n".join(fenced).splitlines()
    return [bare for line in lines if (bare := " ".join(line.split("#")[0].split()))]


def prose(text):
    """The text without code, addresses and the generated claims, in which numbers differ."""
    text = re.sub(r"<!-- claims:.*?<!-- end of claims -->", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)


def numbers(text):
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def rows(text):
    """{link of a table's row: the rest of the row}."""
    found = re.findall(r"^\| \[[^\]]*\]\(([^)]+)\) \|(.*)\|$", text, re.MULTILINE)
    return dict(found)


def test_every_command_is_one_of_the_english_text():
    inline = re.findall(r"`(make[^`]*)`", ENGLISH)
    missing = set(commands(KOREAN)) - set(commands(ENGLISH)) - set(inline)
    assert not missing, f"README.md has no command {sorted(missing)}; change README.ko.md"


def test_the_first_commands_are_there():
    first = [
        command for command in commands(ENGLISH) if command.startswith(("git clone", "make"))
    ]
    missing = [command for command in first[:3] if command not in commands(KOREAN)]
    assert not missing, f"README.ko.md lacks the commands {missing} of README.md"


# Korean writes as digits what the English text writes as words.
WORDS = {"2": "two minutes", "10": "ten minutes", "11": "Eleven schedules"}


def test_every_number_is_one_of_the_english_text():
    notebook1 = "2 to 10"  # the paper's advice, in notebook 1
    known = numbers(ENGLISH) | numbers(notebook1)
    known |= {digit for digit, words in WORDS.items() if words in ENGLISH}
    fractions = {"3"} if "third" in ENGLISH else set()  # 3분의 1
    missing = numbers(prose(KOREAN)) - known - fractions
    assert not missing, f"README.md has no number {sorted(missing)}; change README.ko.md"


def test_the_table_of_notebooks_has_the_same_rows_and_places():
    english, korean = rows(ENGLISH), rows(KOREAN)
    notebooks = {link for link in english if link.startswith("notebooks/")}
    assert {link for link in korean if link.startswith("notebooks/")} == notebooks
    for link in notebooks:
        place, ours = english[link].split("|")[-1], korean[link].split("|")[-1]
        assert numbers(place) == numbers(ours), f"{link}: {place} in README.md, {ours} here"


def test_its_short_answer_is_that_of_the_english_text():
    """The same signs and numbers, line by line."""
    english = [line for line in answers_part().split("\n* ")]
    answer = KOREAN[KOREAN.index("**짧은 답**") : KOREAN.index("각 수치는")]
    korean = re.split(r"^\* ", answer, flags=re.MULTILINE)[1:]
    signs = {"Yes": "그렇다", "No": "아니다", "Not that we can see": "차이가 보이지 않는다"}
    for ours, theirs in zip(korean, english, strict=True):
        assert re.findall(r"\d+\.\d", ours) == re.findall(r"\d+\.\d", theirs)
        found = re.findall(r"\*\*(.+?)\*\*", theirs)
        assert [signs[sign] for sign in found] == re.findall(r"\*\*(.+?)\*\*", ours)


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", KOREAN):
        assert "://" in link or (ROOT / link).exists(), link


def test_the_glossary_has_the_terms_of_the_chapters():
    text = (ROOT / "docs" / "glossary.md").read_text()
    lines = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(lines) >= 30 and all(part.strip() for line in lines for part in line)
    assert all(re.search("[가-힣]", korean) for _, korean, _ in lines)
    english = [term.strip() for term, _, _ in lines]
    assert len(english) == len(set(english))
    chapters = " ".join(path.read_text() for path in (ROOT / "notebooks").glob("0*.ipynb"))
    for name in ("base_lr", "max_lr", "stepsize", "cycle", "range test", "super-convergence"):
        assert name in chapters and name in text
