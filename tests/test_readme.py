import re

import torch

from clr.data import ROOT
from clr.notebooks import NOTEBOOKS

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
