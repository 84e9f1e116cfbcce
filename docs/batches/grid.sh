#!/bin/sh
# Runs notebook 3 once for each combination of parameters, one after the other.
set -eu
mkdir -p results/batch
export CLR_RUNS="$PWD/results/batch/runs"
for stepsize in 50 100; do
  for max_lr in 0.006 0.012; do
    papermill --no-progress-bar notebooks/03_cifar10_policies.ipynb \
      "results/batch/stepsize=$stepsize,max_lr=$max_lr.ipynb" \
      -p experiment own -p dataset digits -p seeds 2 -p iterations 400 \
      -p stepsize "$stepsize" -p max_lr "$max_lr"
  done
done
