#!/bin/sh
# Runs the notebooks with the parameters `laptop`, or as the arguments say, into a folder of today.
set -eu
cd "$(dirname "$0")/../.."
"${PYTHON:-.venv/bin/python}" -m clr run --params laptop --out "results/nightly/$(date +%F)" "$@"
