"""The ablations' tables from an ablation's output folder, the published one beside it."""

import csv
from pathlib import Path

from experiments.baselines.paper import SOURCE, Column
from experiments.baselines.rows import MEASURED, PUBLISHED, Row, Table, rank
from experiments.reporting.comparison import is_of_methods
from experiments.reporting.published import COLUMNS, TABLE
from experiments.reporting.records import (
    METRICS,
    read_references,
    read_specification,
    read_variants,
)
from experiments.reporting.variants import is_of_vre
from osdface.errors import UserError


def ablation_tables(which: str, runs: Path) -> list[Table]:
    """Returns our table of an ablation and, of the losses, the published one.

    Raises:
        UserError: ``runs`` is no ablation's folder, or one of the other ablation.
    """
    variants = read_variants(runs)
    if not variants:
        raise UserError(f"runs={runs} holds no variants: name an ablation's output folder.")
    if is_of_methods(runs):
        raise UserError(f"runs={runs} compares methods: its own ablation.md has its tables.")
    if is_of_vre(runs) != (which == "ablation_vre"):
        other = "ablation_losses" if which == "ablation_vre" else "ablation_vre"
        raise UserError(f"runs={runs} is an ablation of the other kind: table={other}.")
    columns = tuple(Column(m.name, m.label, m.higher, m.digits) for m in METRICS)
    rows = []
    for found in [*read_references(runs), *variants]:
        values = {m.name: found.mean(m.name) for m in METRICS}
        known = {key: value for key, value in values.items() if value is not None}
        source = "reference" if found.reference is not None else MEASURED
        rows.append(Row(found.name, source, values=known, status=found.status, note=found.reason))
    rank(rows, columns)
    notes = ["References are trained on nothing here and not ranked."]
    notes += [f"{name}: {text}." for name, text in read_specification(runs).items()]
    notes += [f"{row.method}: {row.note}." for row in rows if row.note]
    if which == "ablation_vre":
        notes.append("The published figures of this ablation are not in our sources.")
        return [Table("Ablation of the VRE, measured", columns, rows, notes)]
    return [Table("Ablation of the losses, measured", columns, rows, notes), _published_losses()]


def _published_losses() -> Table:

    with open(TABLE, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    columns = tuple(
        Column(key, label.rpartition(" ")[0], label.endswith("↑"), 4) for key, label in COLUMNS
    )
    rows = [
        Row(
            f"row {line['row']}" + (" (published model)" if line is lines[-1] else ""),
            PUBLISHED,
            values={column.key: float(line[column.key]) for column in columns},
        )
        for line in lines
    ]
    rank(rows, columns)
    notes = [
        SOURCE,
        "Which terms a row uses is not legible in our source: no row corresponds to one of ours.",
    ]
    return Table("Ablation of the losses, published", columns, rows, notes)
