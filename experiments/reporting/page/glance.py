"""The metrics at a glance: a dot a variant, a whisker over its seeds; plain SVG."""

import math
from collections.abc import Sequence

from experiments.reporting.page.found import Found
from experiments.reporting.page.markup import element, escape
from experiments.reporting.page.tables import head_of
from experiments.reporting.records import METRICS, Metric, Row

WIDTH, LINE, NAMES, VALUES = 340, 22, 112, 62  # units of the drawing
_FAR = 3.0  # times the variants' range: a reference beyond it is an arrow at the edge


def limits(low: float, high: float, references: Sequence[float]) -> tuple[float, float]:
    """Returns the axis for variants from ``low`` to ``high``, and references not far from them."""
    away = [max(low - value, value - high, 0.0) for value in references]
    # Variants that are nearly equal leave room for the nearest reference.
    room = max([high - low, *sorted(each for each in away if each)[:1]]) or abs(high) * 0.05 or 1.0
    near = [value for value, gap in zip(references, away, strict=True) if gap <= _FAR * room]
    low, high = min([low, *near]), max([high, *near])
    margin = ((high - low) or room) * 0.08
    return low - margin, high + margin


def _cut(name: str) -> str:
    return name if len(name) <= 17 else f"{name[:8]}…{name[-8:]}"


def dot_plot(metric: Metric, rows: Sequence[Row], found: Found) -> str:
    """Returns one metric's panel; rows without a figure are left out."""
    shown = [row for row in rows if _mean(row, metric) is not None]
    spans = [_span(row, metric) for row in shown if row.reference is None]
    others = [_span(row, metric)[1] for row in shown if row.reference is not None]
    low, high = limits(min(s[0] for s in spans), max(s[2] for s in spans), others)
    left, right = NAMES, WIDTH - VALUES

    def place(value: float) -> float:
        share = (value - low) / (high - low)
        return round(left + min(max(share, 0.0), 1.0) * (right - left), 1)

    colours = {id(row): index for index, row in enumerate(found.rows)}
    marks = []
    for line, row in enumerate(shown):
        least, mean, most = _span(row, metric)
        y = LINE * line + LINE / 2
        reference = row.reference is not None
        colour = "reference" if reference else f"c{colours[id(row)] % 10}"
        marks.append(element("text", escape(_cut(row.name)), x=0, y=y + 4, class_="name"))
        marks.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="track"))
        if mean < low or mean > high:
            tip, back = (left, left + 9) if mean < low else (right, right - 9)
            points = f"{tip},{y} {back},{y - 4} {back},{y + 4}"
            marks.append(element("polygon", points=points, class_=f"dot {colour}"))
        else:
            if most > least:
                ends = {"x1": place(least), "x2": place(most)}
                marks.append(element("line", **ends, y1=y, y2=y, class_=f"whisker {colour}"))
            marks.append(element("circle", cx=place(mean), cy=y, r=5, class_=f"dot {colour}"))
        digits = min(metric.digits, 3)
        marks.append(element("text", f"{mean:.{digits}f}", x=WIDTH, y=y + 4, class_="value"))
    drawing = element(
        "svg",
        *marks,
        viewBox=f"0 0 {WIDTH} {LINE * len(shown)}",
        role="img",
        aria_label=f"{metric.label} of {', '.join(row.name for row in shown)}",
    )
    return element("figure", element("figcaption", head_of(metric, found)), drawing)


def _mean(row: Row, metric: Metric) -> float | None:
    mean = row.mean(metric.name)
    return mean if mean is not None and math.isfinite(mean) else None


def _span(row: Row, metric: Metric) -> tuple[float, float, float]:
    """Mean less deviation, mean, mean and deviation."""
    mean, std = _mean(row, metric) or 0.0, row.std(metric.name) or 0.0
    std = std if math.isfinite(std) else 0.0
    return mean - std, mean, mean + std


def glance(found: Found) -> str:
    """Returns a panel for each metric; empty where no run was measured."""
    rows = [*found.references, *found.rows]
    panels = [
        dot_plot(metric, rows, found)
        for metric in METRICS
        if any(_mean(row, metric) is not None for row in found.rows)
    ]
    return element("div", *panels, class_="glance") if panels else ""
