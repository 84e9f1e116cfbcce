"""Runs notebook 3 once for each combination of parameters, one after the other."""

import os
from itertools import product
from pathlib import Path

folder = Path("results/batch")
folder.mkdir(parents=True, exist_ok=True)
# set before papermill starts a kernel, which then finds it in its environment
os.environ["CLR_RUNS"] = str((folder / "runs").resolve())

import papermill  # noqa: E402

fixed = {"experiment": "own", "dataset": "digits", "seeds": 2, "iterations": 400}
grid = {"stepsize": [50, 100], "max_lr": [0.006, 0.012]}

for values in product(*grid.values()):
    point = dict(zip(grid, values, strict=True))
    name = ",".join(f"{key}={value}" for key, value in point.items())
    papermill.execute_notebook(
        "notebooks/03_cifar10_policies.ipynb",
        folder / f"{name}.ipynb",
        parameters=fixed | point,
        progress_bar=False,
    )
    print("done:", name)
