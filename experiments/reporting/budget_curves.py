"""``curves.png`` of a comparison: figures of validation against images and against seconds."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.lines import Line2D

from callbacks.run_table import read_table
from experiments.cli.variants import BUDGETS, method_and_budget
from experiments.reporting.charts import colours, panels, save_figure
from experiments.reporting.comparison import SEEN, SPENT
from experiments.reporting.records import METRICS, Row

_AXES = ((SEEN, "training images"), (SPENT, "seconds of training"))
_SHOWN = METRICS[:3]
_STYLES = dict(zip(BUDGETS, ("-", "--"), strict=True))


def read_points(path: Path, axis: str, key: str) -> tuple[list[float], list[float]]:
    """Returns values of ``key`` of a ``metrics.csv`` and what of ``axis`` was logged by then."""
    places, values, place = [], [], 0.0
    for row in read_table(path):
        place = float(row.get(axis, place))
        if key in row:
            places.append(place)
            values.append(float(row[key]))
    return places, values


def budget_curves(path: str | Path, variants: Sequence[Row]) -> bool:
    """Draws a panel a figure and axis; a colour a method, dashed by seconds.

    Returns False if there is nothing to draw.
    """
    methods = list(dict.fromkeys(method_and_budget(row.name)[0] for row in variants))
    palette = dict(zip(methods, colours(len(methods)), strict=True))
    figure, axes = panels(len(_SHOWN) * len(_AXES), 7.0, 3.0)
    drawn = False
    for place, axis in enumerate(axes):
        metric, (key, label) = _SHOWN[place // len(_AXES)], _AXES[place % len(_AXES)]
        for row in variants:
            method, budget = method_and_budget(row.name)
            for run in row.runs:
                where, values = read_points(run.folder / "metrics.csv", key, f"val/{metric.name}")
                drawn |= bool(values)
                style = {"color": palette[method], "linestyle": _STYLES[budget], "marker": "."}
                axis.plot(where, values, linewidth=1.3, **style)
        axis.set_title(f"{metric.label} {metric.arrow} (validation)", fontsize=10)
        axis.set_xlabel(label, fontsize=8)
        axis.grid(alpha=0.25)
    if not drawn:
        return False
    handles = [Line2D([], [], color=palette[method]) for method in methods]
    handles += [Line2D([], [], color="black", linestyle=style) for style in _STYLES.values()]
    names = [*methods, *(f"budget of {budget}" for budget in _STYLES)]
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False)
    save_figure(figure, path)
    return True
