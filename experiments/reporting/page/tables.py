"""Tables of figures, sorted by a click on a column's head."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.reporting.page.found import Found, last_validation
from experiments.reporting.page.markup import element, escape, section
from experiments.reporting.page.networks import is_stand_in_metric
from experiments.reporting.published import COLUMNS as PUBLISHED_COLUMNS
from experiments.reporting.published import published_rows
from experiments.reporting.records import METRICS, Metric, Row
from experiments.reporting.tables import figure

STAND_IN = element("small", "stand-in", class_="stand-in")
_PUBLISHED_NOTE = (
    "From the paper's poster (arXiv:2411.17163, CVPR 2025). <strong>Not comparable with the "
    "figures above</strong>: other images, other networks, another size. Which losses a row uses "
    "is not legible in our source, so no row here corresponds to a row above."
)


@dataclass(frozen=True)
class Cell:
    """A cell: HTML, the value that sorting uses (None stands last), and its class."""

    html: str
    value: float | str | None = None
    kind: str = ""


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], label: str) -> str:
    """Returns a table whose columns sort; the head's cells are HTML, the first column names."""
    heads = [
        element("th", element("button", each, type="button"), scope="col", aria_sort="none")
        for each in header
    ]
    lines = []
    for row in rows:
        cells = [
            element(
                "th" if place == 0 else "td",
                cell.html,
                scope="row" if place == 0 else None,
                class_=cell.kind or None,
                data_value=cell.value,
            )
            for place, cell in enumerate(row)
        ]
        lines.append(element("tr", *cells))
    body = element("thead", element("tr", *heads)) + element("tbody", *lines)
    whole = element("table", body)
    return element("div", whole, class_="wide", role="region", aria_label=label, tabindex=0)


def head_of(metric: Metric, found: Found) -> str:
    """Returns a column's head, which names a stand-in."""
    mark = " " + STAND_IN if is_stand_in_metric(metric.name, found) else ""
    return f"{escape(metric.label)} {metric.arrow}{mark}"


def _sortable(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def chip(status: str) -> str:
    """Returns a status as a small coloured word."""
    kind = next(iter(status.split()), "")
    return element("span", escape(status), class_=f"chip {kind}")


def best_texts(rows: Sequence[Row]) -> dict[str, str]:
    """Returns metric -> the best mean among the variants as printed; none for fewer than two."""
    best = {}
    for metric in METRICS:
        means = [mean for row in rows if (mean := _sortable(row.mean(metric.name))) is not None]
        if len(means) > 1:
            best[metric.name] = figure((max if metric.higher else min)(means), digits=metric.digits)
    return best


def results_table(found: Found) -> str:
    """Returns references and variants with all metrics; empty where nothing was measured."""
    rows = [*found.references, *found.rows]
    metrics = [m for m in METRICS if any(row.mean(m.name) is not None for row in rows)]
    if not metrics:
        return ""
    best = best_texts(found.rows)
    lines = []
    for row in rows:
        reference = row.reference is not None
        name = element("em" if reference else "span", escape(row.name))
        cells = [Cell(name, row.name, "reference" if reference else "")]
        for metric in metrics:
            mean, std = row.mean(metric.name), row.std(metric.name)
            text = figure(mean, std, metric.digits)
            is_best = not reference and text.split(" ")[0] == best.get(metric.name)
            html = element("strong", escape(text)) if is_best else escape(text)
            cells.append(Cell(html, _sortable(mean)))
        seconds = sum(run.seconds for run in row.runs)
        cells += [
            Cell("" if reference else chip(row.status), row.status),
            Cell("" if reference else str(len(row.finished)), None if reference else len(row.runs)),
            Cell(f"{seconds:.0f}" if row.runs else "", seconds if row.runs else None),
        ]
        lines.append(cells)
    header = ["name", *(head_of(metric, found) for metric in metrics)]
    return table([*header, "status", "seeds", "seconds"], lines, "Results")


def other_figures(found: Found) -> str:
    """Returns what the other table does not hold: figures of stage 1, or of an unfinished run."""
    columns: dict[str, Mapping[str, float]] = {}
    known = {metric.name for metric in METRICS}
    for row in found.rows:
        for run in row.finished:
            rest = {k: v for k, v in run.metrics.items() if k not in known}
            label = f"{row.name} {run.folder.name}" if len(row.runs) > 1 else row.name
            if rest:
                columns[label] = rest
    finished = {run.folder for row in found.rows for run in row.finished}
    if found.folder not in finished:
        for part in found.parts:
            step, figures = last_validation(part.folder)
            if figures and part.folder not in finished:
                columns[f"{part.label}, last validation (step {step})"] = figures
    if not columns:
        return ""
    keys = list(dict.fromkeys(key for each in columns.values() for key in each))
    lines = []
    for key in keys:
        mark = " " + STAND_IN if is_stand_in_metric(key, found) else ""
        cells = [Cell(element("span", escape(key)) + mark, key)]
        for figures in columns.values():
            value = figures.get(key)
            cells.append(Cell("–" if value is None else f"{value:.4g}", _sortable(value)))
        lines.append(cells)
    return table(["figure", *map(escape, columns)], lines, "Figures")


def measured_by(found: Found) -> str:
    """Returns the list of what measures each figure; empty without a specification."""
    items = [
        element("dt", escape(metric)) + element("dd", escape(text))
        for metric, text in found.specification.items()
    ]
    return element("dl", *items) if items else ""


def published_section() -> str:
    """Returns the paper's rows, by number and apart from ours."""
    lines = []
    for row in published_rows():
        cells = [Cell(escape(row["row"]), float(row["row"].split()[0]))]
        cells += [Cell(escape(row[key]), float(row[key])) for key, _ in PUBLISHED_COLUMNS]
        lines.append(cells)
    header = ["row", *(escape(label) for _, label in PUBLISHED_COLUMNS)]
    return section(
        "Published figures",
        "published",
        table(header, lines, "Published figures"),
        note=_PUBLISHED_NOTE,
    )
