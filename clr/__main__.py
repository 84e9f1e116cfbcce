"""`python -m clr …`: see clr.cli."""

import gc
import sys

try:
    from clr.cli import main

    status = main()
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] == "clr":
        raise
    print(
        f"python -m clr needs the 'lab' extra: pip install '.[lab]' (there is no module named "
        f"{error.name!r})",
        file=sys.stderr,
    )
    status = 2
gc.freeze()  # otherwise Python looks for cycles among all objects at exit: half a second
sys.exit(status)
