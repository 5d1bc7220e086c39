"""A wide CSV file that grows by steps and columns, and survives being killed."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from osdface.files import append_text, write_text

Row = dict[str, str]


def read_table(path: str | Path) -> list[Row]:
    """Reads the whole rows of a table; a missing file has none.

    A last line that was cut off when the writer was killed is left out, as is a row without a
    step. Empty cells are left out of a row's dict.
    """
    path = Path(path)
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    text = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(text)))
    if not lines or "step" not in lines[0]:
        return []
    header = lines[0]
    rows = [
        {key: cell for key, cell in zip(header, line, strict=True) if cell != ""}
        for line in lines[1:]
        if len(line) == len(header)
    ]
    return [row for row in rows if row.get("step", "").isdigit()]


class RunTable:
    """``metrics.csv``: one row a step, columns ``step, seconds`` and then keys as they appear.

    Rows are appended, which is cheap; the file is rewritten atomically when a column is new or
    when figures join the last row.
    """

    def __init__(self, path: str | Path, step: int = 0) -> None:
        """Opens the table to go on after ``step``: later rows are of a lost past and dropped."""
        self.path = Path(path)
        self.rows = [row for row in read_table(path) if step > 0 and int(row["step"]) <= step]
        self.columns = ["step", "seconds"]
        for row in self.rows:
            self._add_columns(row)
        self._rewrite()

    @property
    def seconds(self) -> float:
        """Wall seconds of the last row, 0 for an empty table."""
        return float(self.rows[-1].get("seconds", 0.0)) if self.rows else 0.0

    def add(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Adds figures at ``step``; they join the last row if that has the same step."""
        row = {key: repr(float(value)) for key, value in values.items()}
        row |= {"step": str(step), "seconds": f"{seconds:.2f}"}
        new_columns = self._add_columns(row)
        if self.rows and self.rows[-1]["step"] == row["step"]:
            self.rows[-1] |= row
            self._rewrite()
            return
        self.rows.append(row)
        if new_columns:
            self._rewrite()
        else:
            append_text(self.path, self._lines([row]))

    def _add_columns(self, row: Row) -> bool:
        new = [key for key in row if key not in self.columns]
        self.columns += new
        return bool(new)

    def _lines(self, rows: list[Row]) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.columns, restval="", lineterminator="\n")
        writer.writerows(rows)
        return buffer.getvalue()

    def _rewrite(self) -> None:
        header = self._lines([{key: key for key in self.columns}])
        write_text(self.path, header + self._lines(self.rows))
