"""The curves of ``metrics.csv``, as data that the page's script draws."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from callbacks.run_table import read_table
from experiments.reporting.page.found import Found, Part
from experiments.reporting.page.markup import data_block, element, folded, section
from experiments.reporting.page.networks import is_stand_in_curve
from experiments.reporting.records import METRICS

MAX_POINTS = 120_000  # of all curves together: about two megabytes
_LABELS = {f"val/{metric.name}": f"{metric.label} {metric.arrow}" for metric in METRICS}
_NOTE = (
    "Thin lines are the figures as they were logged, thick ones smoothed. Move over a chart, or "
    "choose it by Tab and use the arrow keys, to read values. Validation is never smoothed."
)


def read_lines(part: Part) -> dict[str, tuple[list[int], list[float | None]]]:
    """Returns key -> steps and values of one training; a value that is not finite is None."""
    lines: dict[str, tuple[list[int], list[float | None]]] = {}
    for row in read_table(part.folder / "metrics.csv"):
        for key, cell in row.items():
            if key in ("step", "seconds"):
                continue
            try:
                value = float(cell)
            except ValueError:
                continue
            steps, values = lines.setdefault(key, ([], []))
            steps.append(int(row["step"]))
            values.append(float(f"{value:.6g}") if math.isfinite(value) else None)
    return lines


def thinned(
    steps: Sequence[int], values: Sequence[float | None], limit: int
) -> tuple[list[int], list[float | None]]:
    """Returns about ``limit`` points at most: each stretch's least and greatest, so spikes stay."""
    if len(steps) <= limit:
        return list(steps), list(values)
    size = math.ceil(len(steps) / max(limit // 2, 1))
    kept = {0, len(steps) - 1}
    for start in range(0, len(steps), size):
        known = [i for i in range(start, min(start + size, len(steps))) if values[i] is not None]
        if known:
            kept |= {min(known, key=lambda i: values[i] or 0.0)}
            kept |= {max(known, key=lambda i: values[i] or 0.0)}
        else:
            kept.add(start)
    chosen = sorted(kept)
    return [steps[i] for i in chosen], [values[i] for i in chosen]


def group_of_key(key: str) -> str:
    """Returns the heading under which a key's chart stands."""
    if key.startswith("val/"):
        return "Validation"
    if key.startswith(("loss/", "discriminator/", "association/")) and not key.endswith(
        "/weighted"
    ):
        return "Losses"
    return "Everything else"


def label_of(key: str, found: Found) -> str:
    """Returns a chart's title; it names a stand-in on which the curve depends."""
    label = _LABELS.get(key) or key.removeprefix("val/")
    if key == "loss/total" and found.is_ablation:
        label += " (its terms differ by variant)"
    return label + (" (stand-in)" if is_stand_in_curve(key, found) else "")


def curves_data(found: Found) -> dict[str, Any]:
    """Returns names, and for each key its title, group and lines (part, steps, values)."""
    lines = [read_lines(part) for part in found.parts]
    keys = list(dict.fromkeys(key for each in lines for key in each))
    limit = max(60, MAX_POINTS // max(sum(map(len, lines)), 1))
    charts = []
    for key in keys:
        drawn = [
            [place, *thinned(*each[key], limit)] for place, each in enumerate(lines) if key in each
        ]
        charts.append(
            {
                "key": key,
                "label": label_of(key, found),
                "group": group_of_key(key),
                "log": key.startswith("loss/") and _all_positive(drawn),
                "lines": drawn,
            }
        )
    parts = [{"name": part.name, "seed": part.seed, "place": part.place} for part in found.parts]
    return {"parts": parts, "charts": charts, "thinned": _any_longer(lines, limit)}


def _all_positive(lines: Iterable[list[Any]]) -> bool:
    return all(value is None or value > 0 for _, _, values in lines for value in values)


def _any_longer(lines: Sequence[dict[str, Any]], limit: int) -> bool:
    return any(len(steps) > limit for each in lines for steps, _ in each.values())


def curves_section(found: Found) -> str:
    """Returns the section with all curves; empty where nothing was logged."""
    data = curves_data(found)
    if not data["charts"]:
        return ""
    groups = []
    for group in ("Validation", "Losses", "Everything else"):
        if any(chart["group"] == group for chart in data["charts"]):
            place = element("div", class_="charts", data_group=group)
            rest = group == "Everything else"
            whole = folded(group, place) if rest else element("h3", group) + place
            groups.append(whole)
    tools = element(
        "div",
        element(
            "label",
            "Smoothing ",
            '<input type="range" id="smoothing" min="0" max="0.95" step="0.05" value="0">',
            element("output", "0", for_="smoothing"),
        ),
        element("label", '<input type="checkbox" id="logarithmic" checked> ', "logarithmic losses"),
        class_="tools",
    )
    legend = element("div", class_="legend", role="group", aria_label="Curves to show")
    note = _NOTE + (
        " Long curves are thinned out to the least and greatest value of each stretch."
        if data["thinned"]
        else ""
    )
    return section(
        "Curves", "curves", tools, legend, *groups, data_block("curve-data", data), note=note
    )
