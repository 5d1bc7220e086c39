"""``curves.png``: the mean over seeds as a line, what the seeds span as a band."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.lines import Line2D

from experiments.comparing.differences import Group
from experiments.reporting.charts import CURVES, colours, panels, read_curve, save_figure

MAX_LINES = 20  # more groups than colours: the first ones are drawn, and that is said


def band(
    curves: Sequence[tuple[Sequence[int], Sequence[float]]],
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Returns steps, mean, lowest and highest value of several curves.

    Args:
        curves: Steps and values of each seed. Only steps that all of them have are kept, so that
            the mean never jumps where one seed ends.
    """
    tables = [dict(zip(steps, values, strict=True)) for steps, values in curves]
    shared = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    columns = [[table[step] for table in tables] for step in shared]
    means = [statistics.fmean(column) for column in columns]
    return shared, means, [min(column) for column in columns], [max(column) for column in columns]


def group_curve(
    group: Group, key: str
) -> tuple[list[int], list[float], list[float], list[float]] | None:
    """Returns the :func:`band` of a group's figure, None where no run logged it."""
    found = [read_curve(found.folder / "metrics.csv", key) for found in group.runs]
    drawn = band([curve for curve in found if curve[0]])
    return drawn if drawn[0] else None


def band_chart(path: Path, groups: Sequence[Group]) -> bool:
    """Draws a panel a figure, a line with a band a group; returns False if there is nothing."""
    shown = list(groups[:MAX_LINES])
    found = {
        key: [(place, curve) for place, g in enumerate(shown) if (curve := group_curve(g, key))]
        for key, _ in CURVES
    }
    labels = [(key, label) for key, label in CURVES if found[key]]
    if not labels:
        return False
    figure, axes = panels(len(labels), 4.4, 3.0)
    palette = colours(len(shown))
    for axis, (key, label) in zip(axes, labels, strict=False):
        for place, (steps, means, lows, highs) in found[key]:
            marker = "." if key.startswith("val/") else None
            axis.plot(steps, means, color=palette[place], linewidth=1.4, marker=marker)
            axis.fill_between(steps, lows, highs, color=palette[place], alpha=0.18, linewidth=0)
        if key.startswith("loss/") and all(min(curve[2]) > 0 for _, curve in found[key]):
            axis.set_yscale("log")
        axis.set_title(label, fontsize=10)
        axis.set_xlabel("generator step", fontsize=8)
        axis.grid(alpha=0.25)
    handles = [Line2D([], [], color=colour) for colour in palette]
    names = [group.label for group in shown]
    columns = max(1, min(len(names), 110 // max(map(len, names))))
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False)
    save_figure(figure, path)
    return True
