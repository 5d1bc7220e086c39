"""What the restorers of a comparison cost, and what their training spent."""

from experiments.reporting.comparison import (
    COST_HEADER,
    COST_NOTES,
    cost_cells,
    cost_rows,
    is_of_methods,
    spent,
)
from experiments.reporting.page.found import Found
from experiments.reporting.page.markup import element, escape, section
from experiments.reporting.page.tables import Cell, table
from experiments.reporting.tables import figure

_SPENT = {"steps": 0, "images": 0, "training_seconds": 1}


def costs_section(found: Found) -> str:
    """Returns the section of a comparison of methods; empty elsewhere, or before one finished."""
    if not found.is_ablation or not is_of_methods(found.folder):
        return ""
    rows = cost_rows(found.rows)
    if not rows:
        return ""
    lines = [[_cell(text) for text in cost_cells(row)] for row in rows]
    budgets = []
    for row in found.rows:
        own = spent(row)
        cells = [_cell(figure(own[key], digits=places)) for key, places in _SPENT.items()]
        budgets.append([_cell(row.name), *cells])
    return section(
        "Costs",
        "costs",
        element("h3", "Of restoring"),
        table(list(map(escape, COST_HEADER)), lines, "Costs of restoring"),
        element("h3", "Of training, means over finished seeds"),
        table(["name", "steps", "images", "seconds"], budgets, "Costs of training"),
        note=escape(COST_NOTES),
    )


def _cell(text: str) -> Cell:
    try:
        return Cell(escape(text), float(text))
    except ValueError:
        return Cell(escape(text), text)
