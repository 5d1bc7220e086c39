"""Tables as Markdown, CSV and LaTeX."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from experiments.baselines.paper import Column
from experiments.baselines.rows import DIFFERENCE, PUBLISHED, Row, Table
from experiments.reporting.tables import csv_text, figure, markdown_table
from osdface.files import write_text

LEGEND = "Bold: best, {second}: second, among the measured and among the published rows."
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "±": r"$\pm$", "Δ": r"$\Delta$",
    "λ": r"$\lambda$", "†": r"\textdagger{}",
}  # fmt: skip


def write_tables(tables: Sequence[Table], folder: Path, stem: str) -> list[Path]:
    """Writes ``stem.md``, ``stem.csv`` and ``stem.tex``; returns their paths."""
    texts = {".md": markdown, ".csv": as_csv, ".tex": latex}
    paths = []
    for suffix, render in texts.items():
        text = "\n".join(render(table) for table in tables)
        write_text(folder / f"{stem}{suffix}", text)
        paths.append(folder / f"{stem}{suffix}")
    return paths


def markdown(table: Table) -> str:
    """Returns the table with its title and notes."""
    header = ["method", "", "steps", *(_head(column) for column in table.columns)]
    lines = []
    for row in table.rows:
        cells = [_marked(_text(row, column), row.marks.get(column.key)) for column in table.columns]
        lines.append([row.method, _source(row), _steps(row), *cells])
    notes = [LEGEND.format(second="italic"), *table.notes]
    return "\n".join(
        [f"# {table.title}", "", markdown_table(header, lines, numbers=2), *_listed(notes)]
    )


def _listed(notes: Sequence[str]) -> list[str]:
    return [*(f"- {note}" for note in notes), ""]


def _head(column: Column) -> str:
    return f"{column.group} {column.head}".strip()


def _source(row: Row) -> str:
    return row.status or {DIFFERENCE: "Δ"}.get(row.source, row.source)


def _steps(row: Row) -> str:
    return "" if row.steps is None else str(row.steps)


def _text(row: Row, column: Column) -> str:
    if column.key not in row.values:
        return "" if row.source == DIFFERENCE else "–"
    text = figure(row.values[column.key], digits=column.digits)
    return f"+{text}" if row.source == DIFFERENCE and not text.startswith("-") else text


def _marked(text: str, mark: int | None) -> str:
    return {1: f"**{text}**", 2: f"*{text}*"}.get(mark or 0, text)


def as_csv(table: Table) -> str:
    """Returns a row a line with plain numbers; ``best`` and ``second`` name the marked columns."""
    keys = [column.key for column in table.columns]
    rows = []
    for row in table.rows:
        cells: dict[str, object] = {
            column.key: round(row.values[column.key], 6)
            for column in table.columns
            if column.key in row.values
        }
        marked = [[k for k in keys if row.marks.get(k) == place] for place in (1, 2)]
        cells |= {"method": row.method, "source": row.source, "steps": row.steps}
        cells |= {"best": " ".join(marked[0]), "second": " ".join(marked[1])}
        rows.append(cells | {"status": row.status, "note": row.note})
    columns = ["method", "source", "steps", *keys, "best", "second", "status", "note"]
    return csv_text(columns, rows)


def latex(table: Table) -> str:
    """Returns a ``table`` environment for booktabs; notes stand in comments below it."""
    columns = table.columns
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.title)}}}",
        rf"\begin{{tabular}}{{llr{'r' * len(columns)}}}",
        r"\toprule",
    ]
    if any(column.group for column in columns):
        heads = []
        for group, members in groupby(columns, key=lambda column: column.group):
            heads.append(rf"\multicolumn{{{len(list(members))}}}{{c}}{{{escaped(group)}}}")
        lines.append(rf" & & & {' & '.join(heads)} \\")
    head = " & ".join(escaped(column.head) for column in columns)
    lines += [rf"Method & & Steps & {head} \\", r"\midrule"]
    for row in table.rows:
        cells = [
            _tex_marked(escaped(_text(row, column)), row.marks.get(column.key))
            for column in columns
        ]
        line = [escaped(row.method), escaped(_source(row)), _steps(row), *cells]
        lines.append(rf"{' & '.join(line)} \\")
        if row.source == PUBLISHED:
            lines.append(r"\addlinespace")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    notes = [LEGEND.format(second="underlined"), *table.notes]
    return "\n".join([*lines, *(f"% {note}" for note in notes), ""])


def _tex_marked(text: str, mark: int | None) -> str:
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(mark or 0, text)


def escaped(text: str) -> str:
    """Returns text that LaTeX prints as it is."""
    return "".join(_TEX.get(letter, letter) for letter in text)
