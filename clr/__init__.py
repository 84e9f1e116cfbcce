"""Cyclical learning rates: policies, runs and figures for the notebooks.

policies    every policy of the paper, as values            (policy: their base)
scheduler   PolicyLR, a torch scheduler that follows one
data        the data sets, and seeded batches               (download: fetching them)
models      Caffe's cifar10_full, and residual networks
training    RunConfig and the one training loop
runs        load_or_train, and the records
range_test  base_lr and max_lr off one run
claims      the papers' numbers beside ours
plots       the figures
cli         python -m clr …                                 (pages: its HTML)

checks and parameters refuse what can't be right, in one sentence.
"""
