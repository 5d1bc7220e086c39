"""Charts of an ablation: a panel a metric, and curves over training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from callbacks.run_table import read_table
from experiments.reporting.records import METRICS, Metric, Row
from osdface.files import atomic_path

# Black, and told apart by style: colours belong to the variants.
REFERENCE_STYLES: tuple[Any, ...] = (":", "-.", "--", (0, (1, 0)))
CURVES = (
    ("val/psnr", "PSNR, dB (validation)"),
    ("val/perceptual", "perceptual distance (validation)"),
    ("val/identity", "identity cosine (validation)"),
    ("loss/mse/raw", "MSE loss"),
    ("loss/total", "total loss (terms differ by variant)"),
    ("discriminator/accuracy", "discriminator accuracy"),
)


def colours(count: int) -> list[Any]:
    """Returns ``count`` distinct colours, the same for a variant in every chart."""
    name = "tab10" if count <= 10 else "tab20"
    palette = matplotlib.colormaps[name]
    return [palette(i % palette.N) for i in range(count)]


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure atomically; needs no display and leaves matplotlib's state alone."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def panels(count: int, width: float, height: float) -> tuple[Figure, list]:
    """Returns a figure of ``count`` panels, at most three a row, two where they are wide."""
    columns = min(3 if width < 7 else 2, max(count, 1))
    rows = math.ceil(max(count, 1) / columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.7), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _bar_panel(
    axis: Any, metric: Metric, variants: Sequence[Row], references: Sequence[Row]
) -> None:
    places, heights, errors = [], [], []
    for place, row in enumerate(variants):
        mean = row.mean(metric.name)
        if _finite(mean):
            std = row.std(metric.name)
            places.append(place)
            heights.append(mean)
            errors.append(std if _finite(std) else 0.0)
        else:
            note = "–" if row.finished else row.status
            where = {"xycoords": ("data", "axes fraction"), "ha": "center", "rotation": 90}
            axis.annotate(note, (place, 0.03), color="gray", fontsize=8, **where)
    palette = colours(len(variants))
    axis.bar(places, heights, 0.7, color=[palette[p] for p in places], zorder=2)
    if any(errors):
        axis.errorbar(places, heights, errors, fmt="none", ecolor="black", capsize=3, zorder=3)
    lines = []
    for index, row in enumerate(references):
        value = row.mean(metric.name)
        if _finite(value):
            style = REFERENCE_STYLES[index % len(REFERENCE_STYLES)]
            axis.axhline(value, color="black", linestyle=style, linewidth=1.3, zorder=4)
            lines.append(value)
    low, high = _limits(heights, errors, lines)
    axis.set_ylim(low, high)
    for place, height, error in zip(places, heights, errors, strict=True):
        axis.annotate(
            f"{height:.{min(metric.digits, 3)}f}",
            (place, height + error),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            zorder=5,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.9, "lw": 0},
        )
    note = "" if low <= 0 else "\n(axis does not start at 0)"
    axis.set_title(f"{metric.label} {metric.arrow}{note}", fontsize=10)
    axis.set_xticks(range(len(variants)), [row.name for row in variants], fontsize=8)
    axis.tick_params(axis="x", rotation=35 if len(variants) > 3 else 0)
    for tick in axis.get_xticklabels():
        tick.set_horizontalalignment("right" if len(variants) > 3 else "center")


def _limits(heights: list[float], errors: list[float], lines: list[float]) -> tuple[float, float]:
    """Zooms in where the differences would be lost on an axis from zero."""
    tops = [h + e for h, e in zip(heights, errors, strict=True)] + lines
    bottoms = [h - e for h, e in zip(heights, errors, strict=True)] + lines
    if not tops:
        return 0.0, 1.0
    low, high = min(bottoms), max(tops)
    spread = (high - low) or abs(high) or 1.0
    start = low - 0.3 * spread if low > 0.5 * high > 0 else min(0.0, low - 0.1 * spread)
    return start, high + 0.18 * (high - start)


def ablation_chart(path: str | Path, variants: Sequence[Row], references: Sequence[Row]) -> None:
    """Draws a panel a metric: a bar a variant, error bars over seeds, references as lines."""
    rows = [*variants, *references]
    metrics = [m for m in METRICS if any(_finite(row.mean(m.name)) for row in rows)] or [METRICS[0]]
    width = max(4.2, 0.55 * len(variants) + 1.0)
    figure, axes = panels(len(metrics), width, 3.3)
    for axis, metric in zip(axes, metrics, strict=False):
        _bar_panel(axis, metric, variants, references)
    handles = [
        Line2D([], [], color="black", linestyle=style, linewidth=1.3)
        for _, style in zip(references, REFERENCE_STYLES * 4, strict=False)
    ]
    if handles:
        names = [row.name for row in references]
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    save_figure(figure, path)


def read_curve(path: Path, key: str) -> tuple[list[int], list[float]]:
    """Returns the steps and values of one key of a ``metrics.csv``."""
    pairs = [(int(row["step"]), float(row[key])) for row in read_table(path) if key in row]
    return [step for step, _ in pairs], [value for _, value in pairs]


def curves_chart(path: str | Path, variants: Sequence[Row]) -> bool:
    """Draws the training curves; thin lines are seeds. Returns False if there are none."""
    found: dict[str, list[tuple[int, list[int], list[float]]]] = {}
    for key, _ in CURVES:
        for place, row in enumerate(variants):
            for run in row.runs:
                steps, values = read_curve(run.folder / "metrics.csv", key)
                if steps:
                    found.setdefault(key, []).append((place, steps, values))
    if not found:
        return False
    labels = [(key, label) for key, label in CURVES if key in found]
    figure, axes = panels(len(labels), 4.4, 3.0)
    palette = colours(len(variants))
    for axis, (key, label) in zip(axes, labels, strict=False):
        for place, steps, values in found[key]:
            width = 0.8 if len(variants[place].runs) > 1 else 1.5
            marker = "." if key.startswith("val/") else None
            axis.plot(steps, values, color=palette[place], linewidth=width, marker=marker)
        positive = all(value > 0 for _, _, values in found[key] for value in values)
        if key.startswith("loss/") and positive:
            axis.set_yscale("log")
        axis.set_title(label, fontsize=10)
        axis.set_xlabel("generator step", fontsize=8)
        axis.grid(alpha=0.25)
    handles = [Line2D([], [], color=palette[i]) for i in range(len(variants))]
    names = [row.name for row in variants]
    columns = min(len(names), 8)
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False)
    save_figure(figure, path)
    return True
