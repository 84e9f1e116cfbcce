"""The progress of a run of the notebooks: a line per notebook and, on a terminal, a bar."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tqdm import tqdm


class Progress:
    """Prints a line for each notebook that ends and, on a terminal only, draws a bar below.

    The bar names the cell that each running notebook is at, and estimates the time left from
    the cells that are done. Notebooks run in several threads, which only note the cells that
    they begin. The thread that waits for them draws one bar for all.
    """

    def __init__(self, cells: Mapping[str, int]):
        """`cells`: the number of code cells that each notebook executes."""
        self.cells, self.begun, self.ended = dict(cells), {}, set()
        self.bar = tqdm(
            total=sum(cells.values()),
            desc="starting",
            file=sys.stdout,
            disable=None,  # draw on a terminal only
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {percentage:.0f} %, about {remaining} left",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_):
        self.bar.close()

    def begin_cell(self, name: str):
        """Note that the notebook begins its next cell. Draws nothing."""
        self.begun[name] = self.begun.get(name, 0) + 1

    def begin_page(self, name: str):
        """Note that all cells of the notebook are executed. Draws nothing."""
        self.begun[name] = self.cells[name] + 1

    def draw(self):
        """Bring the bar up to date."""
        running = {name: n for name, n in self.begun.copy().items() if name not in self.ended}
        at = (
            f"{name.split('_')[0]}: "
            + (f"cell {n} of {self.cells[name]}" if n <= self.cells[name] else "its page")
            for name, n in sorted(running.items())
        )
        # a cell that has begun is not done
        done = sum(n - 1 for n in running.values())
        self.bar.n = done + sum(self.cells[name] for name in self.ended)
        self.bar.set_description_str(", ".join(at))

    def end(self, name: str, outcome: str):
        """Print how the notebook ended."""
        self.ended.add(name)
        with tqdm.external_write_mode(file=sys.stdout):
            print(f"[{len(self.ended)}/{len(self.cells)}] {name}: {outcome}", flush=True)
