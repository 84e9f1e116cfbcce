"""The final accuracies of all runs of a batch: their means over the seeds, and how many."""

import json
from pathlib import Path

import pandas as pd

columns = ["policy", "base_lr", "max_lr", "stepsize"]  # of the policies; others have fewer
rows = []
for path in Path("results/batch/runs").rglob("*.json"):
    record = json.loads(path.read_text())
    row = {name: record["config"]["policy"].get(name) for name in columns}
    row["iterations"] = record["config"]["iterations"]
    row["accuracy"] = record["final_accuracy"]
    row["diverged"] = record["ended"] != "finished"
    rows.append(row)

groups = pd.DataFrame(rows).groupby([*columns, "iterations"], dropna=False)
table = groups.agg(
    accuracy=("accuracy", "mean"), n=("accuracy", "size"), diverged=("diverged", "sum")
)
print(table.round(3).to_string())
table.to_csv("results/batch/table.csv")
