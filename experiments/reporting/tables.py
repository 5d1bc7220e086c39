"""Tables as CSV and Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """Returns a CSV with a header; None becomes an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: "" if v is None else v for k, v in row.items()} for row in rows])
    return buffer.getvalue()


def escape(text: str) -> str:
    """Makes text safe for a Markdown table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 1) -> str:
    """Returns a Markdown table with aligned source; columns from ``numbers`` on align right."""
    table = [[escape(cell) for cell in line] for line in [header, *rows]]
    widths = [max(3, *(len(line[i]) for line in table)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < numbers else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if i < numbers else "-" * (width - 1) + ":" for i, width in enumerate(widths)
    ]
    return "\n".join([line(table[0]), f"| {' | '.join(rule)} |", *map(line, table[1:])]) + "\n"


def figure(mean: float | None, std: float | None = None, digits: int = 4) -> str:
    """Formats a figure, with ``± std`` if there is one; a dash where nothing was measured."""
    if mean is None:
        return "–"
    if not math.isfinite(mean):
        return str(mean)
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")


def duration(seconds: float) -> str:
    """Formats seconds as ``58 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
