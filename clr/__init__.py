"""Cyclical learning rates: policies, runs and figures for the notebooks.

checks       what an argument may be                     (paths: where the checkout lies,
                                                             interrupts: Ctrl-C and SIGTERM)
policies     every policy of the papers, as values
scheduler    PolicyLR, a torch scheduler that follows one
range_test   the LR range test, for any model
training     RunConfig and the one training loop         (datasets, batches, models, optim)
runs         load_or_train, and the records              (files: whole or not at all)
tables       the papers' numbers beside ours
claims       the rules that judge a claim
scoreboard   all of them and their verdicts              (readme: README.md's parts)
plots        the figures
experiments  which runs make up an experiment            (sweep: many at once)
notebooks    the notebooks run headless                  (parameters: theirs,
                                                             pages: as HTML)
bench        how fast it trains                          (bench_gpu: on a GPU)
cli          python -m clr …
"""

import importlib.util as _util
import warnings as _warnings

_PYTHONNET = (
    "pythonnet's module is called clr, too; this clr is the companion to Cyclical Learning "
    f"Rates, in {__path__[0]}. Give each an environment of its own"
)
if _util.find_spec("pythonnet"):
    _warnings.warn(_PYTHONNET, stacklevel=2)


def __getattr__(name: str):
    hint = f". {_PYTHONNET}" if name == "AddReference" else ""
    raise AttributeError(f"module 'clr' has no attribute {name!r}{hint}")
