import re

import pytest
import torch
from PIL import Image

from clr import readme, scoreboard
from clr.notebooks import NOTEBOOKS
from clr.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_its_code_trains():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    model = torch.nn.Linear(2, 3)
    given = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
        "loss": torch.nn.functional.cross_entropy,
        "batches": [(torch.ones(4, 2), torch.zeros(4, dtype=torch.long))] * 2000,
    }
    exec(code, given)
    assert given["scheduler"].last_epoch == 2000
    assert given["optimizer"].param_groups[0]["lr"] == 0.006  # the top of the cycle
    assert given["loss"](model(torch.ones(4, 2)), torch.zeros(4, dtype=torch.long)) < 0.1


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links and all("://" in link or (ROOT / link).exists() for link in links)


def test_it_lists_every_notebook():
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        assert f"notebooks/{path.name}" in README


@pytest.mark.parametrize("part", readme.PARTS)
def test_its_parts_are_what_the_records_and_the_modules_say(part, tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_RUNS", str(tmp_path))  # only what is committed
    scoreboard.arms_and_runs.cache_clear()
    assert readme.PARTS[part]() in README, (
        f"README.md's {part} differ from data/runs and clr/. A record that is gone: "
        "git checkout data/runs, or train it again with the command that "
        "`python -m clr claims --markdown` names; then python -m clr claims --readme"
    )
    scoreboard.arms_and_runs.cache_clear()


def test_its_figure_is_drawn_from_the_records(tmp_path, monkeypatch):
    monkeypatch.setenv("CLR_RUNS", str(tmp_path))
    scoreboard.arms_and_runs.cache_clear()
    assert Image.open(readme.FIGURE).text["Records"] == readme.figure_id(), (
        "data/headline.png shows other records than data/runs holds: "
        "git checkout data/runs, or python -m clr claims --readme"
    )


def test_its_parts_are_written_between_their_marks(tmp_path, monkeypatch):
    file = tmp_path / "README.md"
    file.write_text(README.replace(readme.modules_part(), "old"))
    monkeypatch.setattr(readme, "README", file)
    monkeypatch.setattr(readme, "FIGURE", tmp_path / "headline.png")
    monkeypatch.setenv("CLR_RUNS", str(tmp_path))
    readme.write()
    assert file.read_text() == README
    assert Image.open(readme.FIGURE).size[0] > 500
    file.write_text("nothing")
    with pytest.raises(ValueError, match="must hold <!-- claims"):
        readme.write()
    assert file.read_text() == "nothing"
