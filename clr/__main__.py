"""`python -m clr …`: see clr.cli."""

import gc
import sys

from clr.cli import main

# imports make many objects that stay: looking through them again and again costs 0.3 s
gc.set_threshold(50_000)
status = main()
gc.freeze()  # otherwise Python looks for cycles among all objects at exit: half a second
sys.exit(status)
