"""Cyclical learning rates: policies, runs and figures for the notebooks.

policies     every policy of the paper, as values           (policy: what they share)
scheduler    PolicyLR, a torch scheduler that follows one
data         the data sets, and seeded batches              (download: fetching them)
models       Caffe's cifar10_full and lenet, and residual networks
optim        Caffe's solvers
training     RunConfig and the one training loop         (graph: an update on a GPU,
                                                             memory: what a step reuses)
runs         load_or_train, and the records                 (files: whole or not at all)
range_test   the LR range test, for any model               (bounds: reading it,
                                                             snapshot: undoing it)
tables       the papers' numbers beside ours
claims       the rules that judge a claim
scoreboard   all of them and their verdicts                (readme: README.md's parts)
plots        the figures
experiments  which runs make up an experiment               (sweep: many at once)
notebooks    the notebooks run headless                     (pages: as HTML)
bench        how fast it trains                          (bench_gpu: on a GPU)
cli          python -m clr …

checks and parameters refuse what can't be right, in one sentence.
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
