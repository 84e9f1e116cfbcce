"""`python -m clr …`: see clr.cli."""

import gc
import sys

from clr.cli import main

status = main()
gc.freeze()  # otherwise Python looks for cycles among all objects at exit: half a second
sys.exit(status)
