"""Cyclical learning rates: a library for any PyTorch training, and a laboratory built on it.

The library needs only numpy, torch, pandas and matplotlib:

policies     every learning-rate policy of the papers, as a value
scheduler    PolicyLR, a PyTorch scheduler that follows a policy
range_test   the LR range test, for any model

The laboratory (the `lab` extra) trains the papers' experiments, records the runs, judges the
papers' claims by them and shows them in notebooks: `python -m clr --help`.
"""
