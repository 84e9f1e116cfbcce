"""Widgets: pages in which a reader moves a slider and sees what the records or policies say.

Each function returns one piece of HTML that needs no kernel, no network and no other file. It
holds the numbers as JSON, a script that draws them, and a still figure for places where no
script runs. The same text is shown in JupyterLab, in the pages of `make run` and in the book:

    HTML(widgets.policy_explorer())

The numbers come from the policies, runs and curves that the function is given. The scripts hold
formulas, and no results.
"""

from clr.papers.widgets.along import rate_and_accuracy
from clr.papers.widgets.claims import claims_table
from clr.papers.widgets.explorer import policy_explorer
from clr.papers.widgets.peak import peak_rate
from clr.papers.widgets.reading import range_reading

__all__ = ["claims_table", "peak_rate", "policy_explorer", "range_reading", "rate_and_accuracy"]
