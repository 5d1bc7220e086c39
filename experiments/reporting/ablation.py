"""The report of an ablation: gathered from disk, whatever has finished so far."""

import math
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.variants import method_and_budget
from experiments.reporting.budget_curves import budget_curves
from experiments.reporting.charts import ablation_chart, curves_chart
from experiments.reporting.comparison import (
    comparison_tables,
    cost_rows,
    costs_csv,
    costs_markdown,
    is_of_methods,
    spent,
)
from experiments.reporting.grids import comparison_grid
from experiments.reporting.page import write_page
from experiments.reporting.published import published_markdown
from experiments.reporting.records import (
    METRICS,
    Row,
    configured_variants,
    read_references,
    read_specification,
    read_variants,
)
from experiments.reporting.summary import summary_markdown
from experiments.reporting.tables import csv_text, figure, markdown_table
from experiments.reporting.variants import is_of_vre, variant_notes
from osdface.errors import UserError
from osdface.files import write_text

BUDGET_COLUMNS = ("budget", "images", "training_seconds")
COLUMNS = ("variant", "status", *(m.name for m in METRICS), "steps", "seconds", "seeds", "reason")


def write_report(output_dir: str | Path, order: Sequence[str] | None = None) -> list[str]:
    """Writes all tables and pictures of an ablation and returns the failed variants' names.

    Reads nothing but ``output_dir`` and works with any subset of finished variants. ``order``:
    the variants' order, by default that of ``output_dir/config.yaml``. Files: ``ablation.csv``,
    ``ablation.md``, ``ablation.png``, ``curves.png``, ``comparison.png``, ``published.md`` (of
    the losses only), ``complexity.md`` and ``.csv`` (of methods only), ``summary.md``,
    ``report.html``; a picture without anything to show is not written.
    """
    output_dir = Path(output_dir)
    if not output_dir.is_dir():
        raise UserError(f"There is no ablation to report in {output_dir}: no such folder.")
    references = read_references(output_dir)
    variants = read_variants(output_dir, order)
    rows = [*references, *variants]
    of_methods = is_of_methods(output_dir)
    write_text(output_dir / "ablation.csv", ablation_csv(rows, of_methods))
    if of_methods:
        table = comparison_tables(output_dir, references, variants, ablation_table)
        write_costs(output_dir, variants)
    else:
        table = ablation_table(references, variants)
    notes = specification_notes(output_dir)
    title = "Comparison of one-step methods" if of_methods else "Ablation"
    text = f"# {title}\n\n{notes}{table}{legend(variants)}"
    write_text(output_dir / "ablation.md", text + variant_notes(output_dir, variants))
    # No figures of a VRE's variants are published; those of methods stand beside their costs.
    published = not (of_methods or is_of_vre(output_dir))
    if published:
        write_text(output_dir / "published.md", published_markdown())
    if rows:
        ablation_chart(output_dir / "ablation.png", variants, references)
    pictures = [output_dir / "ablation.png"] if rows else []
    draw_curves = budget_curves if of_methods else curves_chart
    for name, drawn in (
        ("curves.png", draw_curves(output_dir / "curves.png", variants)),
        ("comparison.png", comparison_grid(output_dir / "comparison.png", output_dir, variants)),
    ):
        pictures += [output_dir / name] if drawn else []
    wanted = list(order if order is not None else configured_variants(output_dir))
    text = summary_markdown(references, variants, wanted, table, pictures, published)
    write_text(output_dir / "summary.md", text)
    write_page(output_dir, is_ablation=True)
    return [row.name for row in variants if row.failed]


def write_costs(output_dir: Path, variants: Sequence[Row]) -> None:
    """Writes what the restorer of each method costs, where a run is finished."""
    if rows := cost_rows(variants):
        write_text(output_dir / "complexity.md", costs_markdown(rows))
        write_text(output_dir / "complexity.csv", costs_csv(rows))


def csv_row(row: Row, with_std: bool) -> dict[str, object]:
    """Returns a table row: means over finished seeds, all figures empty where there are none."""
    cells: dict[str, object] = {"variant": row.name, "status": row.status, "reason": row.reason}
    for metric in METRICS:
        cells[metric.name] = _rounded(row.mean(metric.name))
        if with_std:
            cells[f"{metric.name}_std"] = _rounded(row.std(metric.name))
    if row.finished:
        cells["steps"] = max(run.step for run in row.finished)
        cells["seconds"] = round(sum(run.seconds for run in row.finished) / len(row.finished), 1)
    if row.reference is None:
        cells["seeds"] = len(row.finished)
    return cells


def _rounded(value: float | None) -> float | None:
    return value if value is None else round(value, 6)


def _budget_cells(row: Row) -> dict[str, object]:
    if row.reference is not None:
        return {}
    own = spent(row)
    name = {"budget": method_and_budget(row.name)[1]}
    return name | {key: _rounded(own[key]) for key in BUDGET_COLUMNS[1:]}


def ablation_csv(rows: Sequence[Row], of_methods: bool = False) -> str:
    """Returns ``ablation.csv``; ``<metric>_std`` columns stand last, if a row has several seeds.

    Of methods it has columns for the budget and what of it was spent.
    """
    with_std = any(len(row.finished) > 1 for row in rows)
    columns = [*COLUMNS, *(BUDGET_COLUMNS if of_methods else ())]
    columns += [f"{m.name}_std" for m in METRICS if with_std]
    cells = [csv_row(row, with_std) | (_budget_cells(row) if of_methods else {}) for row in rows]
    return csv_text(columns, cells)


def ablation_table(references: Sequence[Row], variants: Sequence[Row]) -> str:
    """Returns the Markdown table; the best mean among the variants is bold in each column."""
    best = {}
    for metric in METRICS:
        means = [row.mean(metric.name) for row in variants]
        finite = [mean for mean in means if mean is not None and math.isfinite(mean)]
        if len(finite) > 1:
            best[metric.name] = figure(
                (max if metric.higher else min)(finite), digits=metric.digits
            )
    lines = []
    for row in [*references, *variants]:
        line = [f"*{row.name}*" if row.reference is not None else row.name, row.status]
        for metric in METRICS:
            text = figure(row.mean(metric.name), row.std(metric.name), metric.digits)
            # Compared as printed: figures that look equal are marked alike.
            is_best = row.reference is None and text.split(" ")[0] == best.get(metric.name)
            line.append(f"**{text}**" if is_best else text)
        lines.append([*line, str(len(row.finished)) if row.reference is None else "–"])
    header = ["variant", "status", *(f"{m.label} {m.arrow}" for m in METRICS), "seeds"]
    return markdown_table(header, lines, numbers=2)


def legend(variants: Sequence[Row]) -> str:
    """Returns the lines below the table: how to read it and why variants are missing."""
    text = "\nBold: best mean among the variants. Italic: references, trained on nothing here.\n"
    if any(len(row.finished) > 1 for row in variants):
        text += "After ±: sample standard deviation over the seeds.\n"
    missing = [f"- `{row.name}` ({row.status}): {row.reason}" for row in variants if row.reason]
    return text + ("\n" + "\n".join(missing) + "\n" if missing else "")


def specification_notes(output_dir: Path) -> str:
    """Returns the header that says what measures each figure, empty without a specification."""
    known = read_specification(output_dir)
    lines = [f"- {metric}: {text}" for metric, text in known.items()]
    return "What measures the figures:\n\n" + "\n".join(lines) + "\n\n" if lines else ""
