"""Rows of a table: measured, published and their difference, ranked each among its kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from experiments.baselines.method_files import OURS, shipped_methods
from experiments.baselines.paper import Column, PublishedRow

MEASURED, PUBLISHED, DIFFERENCE = "measured", "published", "difference"


@dataclass
class Row:
    """A line of a table.

    Attributes:
        method: As the paper calls it.
        source: ``measured``, ``published`` or ``difference`` (measured minus published).
        steps: Of diffusion.
        values: Column -> figure.
        marks: Column -> 1 for the best, 2 for the second, among the rows of the same source.
        status: Of a measured row: ``on 3000 images``, or why there are no figures.
        note: More about it, one sentence.
        comparable: Columns whose figures may be held against published ones.
    """

    method: str
    source: str
    steps: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    status: str = ""
    note: str = ""
    comparable: set[str] = field(default_factory=set)


@dataclass
class Table:
    """A table and what has to stand below it."""

    title: str
    columns: tuple[Column, ...]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def paired_rows(
    published: Sequence[PublishedRow],
    measured: Iterable[Row],
    columns: Sequence[Column],
) -> list[Row]:
    """Returns the lines of a table: of each method the measured, the published, the difference.

    Args:
        published: In the paper's order, which is kept; methods of no published row follow.
        measured: Rows of the source ``measured``.
        columns: Those of the table.
    """
    by_name = {row.method: row for row in measured}
    figures = {row.method: row for row in published}
    ours, theirs = shipped_methods()[OURS].name, shipped_methods()["osdface"].name
    rows: list[Row] = []
    for name in [*figures, *(name for name in by_name if name not in figures)]:
        if own := by_name.get(name):
            rows.append(own)
        if name in figures:
            rows.append(Row(name, PUBLISHED, figures[name].steps, dict(figures[name].values)))
        against = figures.get(theirs if name == ours else name)
        if own and against:
            values = {
                column.key: own.values[column.key] - against.values[column.key]
                for column in columns
                if column.key in own.comparable & own.values.keys() & against.values.keys()
            }
            if values:
                label = f"{name} to {theirs}" if name == ours else name
                rows.append(Row(label, DIFFERENCE, values=values))
    rank(rows, columns)
    return rows


def rank(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Marks the best and the second of each column among measured and among published rows.

    Figures are compared as they are printed: what looks equal is marked alike.
    """
    for source in (MEASURED, PUBLISHED):
        own = [row for row in rows if row.source == source]
        for column in columns:
            found = {
                id(row): round(row.values[column.key], column.digits)
                for row in own
                if column.key in row.values
            }
            places = sorted(set(found.values()), reverse=bool(column.higher))[:2]
            if column.higher is None or len(found) < 2:
                continue
            for row in own:
                if found.get(id(row)) in places:
                    row.marks[column.key] = places.index(found[id(row)]) + 1
