"""The figures of the page: what ``workflow/report/figures.yaml`` says of each.

Read while Snakemake parses the workflow: it must not import matplotlib.
"""

from shiftgain.study.lineage import catalogue


def figures(*stages: str) -> dict[str, dict]:
    """Name of a figure -> its ``stage``, ``category``, ``heading``, ``link`` and ``alternative`` text, in page order.

    Only figures that one of ``stages`` draws. Figures of stage draw also have ``of``, for module ``report/of_OF.py``,
    and ``needs``, the arguments of the function NAME in it.
    """
    entries = {name: {"stage": "draw"} | entry for name, entry in catalogue("report/figures").items()}
    return {name: entry for name, entry in entries.items() if entry["stage"] in stages}
