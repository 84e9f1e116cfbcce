"""`python -m clr …`: see clr.cli."""

import sys

from clr.cli import main

sys.exit(main())
