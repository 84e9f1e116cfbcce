import re

import pytest
import torch
from PIL import Image

from clr.papers import readme
from clr.papers.chapters import chapter
from clr.paths import RECORDED, ROOT

README = (ROOT / "README.md").read_text()


def test_its_code_trains():
    find, train = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for code in (train, find):
        assert len([line for line in code.splitlines() if line.strip()]) <= 12
    model = torch.nn.Linear(2, 3)
    given = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
        "loss": torch.nn.functional.cross_entropy,
        "batches": [(torch.ones(4, 2), torch.zeros(4, dtype=torch.long))] * 1000,
        "epochs": 2,
    }
    exec(find, given)
    assert given["found"].curves[0]["lr"].iloc[0] == 0  # the linear ramp in the bracket
    exec(train, given)
    assert given["scheduler"].last_epoch == 2000
    assert given["optimizer"].param_groups[0]["lr"] == 0  # the end of the policy
    assert given["loss"](model(torch.ones(4, 2)), torch.zeros(4, dtype=torch.long)) < 0.1


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    links += re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert "CONTRIBUTING.md" in links
    assert all("://" in link or (ROOT / link).exists() for link in links)


def test_it_lists_every_notebook_with_the_question_of_its_chapter():
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        each = chapter(path.stem)
        place = f"notebooks/{path.name}) | {each.question} | {each.minutes} | {each.paper} |"
        assert f"{each.title}]({place}" in README


def test_its_claims_are_what_the_records_say(tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_RUNS", str(tmp_path))  # only what is committed
    parts = [write_part() for write_part in readme.PARTS.values()]
    assert all(part in README for part in parts), (
        "README.md's answers or claims differ from data/runs. A record that is gone: "
        "git checkout data/runs, or train it again with the command that "
        "`python -m clr claims --markdown` names; then python -m clr claims --readme"
    )


@pytest.mark.parametrize("file", readme.SCHEDULES.values(), ids=lambda file: file.stem)
def test_its_figures_are_drawn_from_the_records(file, tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_RUNS", str(tmp_path))
    assert f'"data/{file.name}"' in README
    assert Image.open(file).text["Records"] == readme.figure_id(), (
        f"data/{file.name} shows other records than data/runs holds: "
        "git checkout data/runs, or python -m clr claims --readme"
    )


def test_its_claims_are_written_between_their_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    drawn = {dark: tmp_path / file.name for dark, file in readme.SCHEDULES.items()}
    monkeypatch.setattr(readme, "SCHEDULES", drawn)
    monkeypatch.setattr(readme, "RULE", tmp_path / "rule.png")
    monkeypatch.setenv("CLR_RUNS", str(tmp_path))
    marks = [mark for part in readme.PARTS for mark in readme.marks(part)]
    readme.README.write_text("before\n{}\n\nold\n\n{}\nbetween\n{}{}\nafter\n".format(*marks))
    readme.write()
    answers, claims = (write_part() for write_part in readme.PARTS.values())
    first, end, second, last = marks
    assert readme.README.read_text() == (
        f"before\n{first}\n\n{answers}\n\n{end}\nbetween\n"
        f"{second}\n\n{claims}\n\n{last}\nafter\n"
    )
    assert all(Image.open(file).size[0] > 1000 for file in drawn.values())
    assert Image.open(readme.RULE).size[0] > 1000
    for wrong in ("nothing", first, first + 2 * end, first + end):
        readme.README.write_text(wrong)
        with pytest.raises(ValueError, match="must hold <!-- "):
            readme.write()
        assert readme.README.read_text() == wrong


def test_the_indexes_of_the_recorded_runs_are_up_to_date():
    indexes = readme.indexes()
    assert set(RECORDED.rglob("README.md")) == set(indexes)
    assert all(path.read_text(encoding="utf-8") == text for path, text in indexes.items()), (
        "data/runs holds other records than its indexes show: python -m clr claims --readme"
    )
    links = {
        path.parent / link
        for path, text in indexes.items()
        for link in re.findall(r"\]\(([^)]+)\)", text)
    }
    records = set(RECORDED.rglob("*.json"))
    assert links == records | {path.parent for path in records}
