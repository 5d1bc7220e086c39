"""``sweep.png``: each varied parameter against the sweep's metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.reporting.charts import panels, save_figure
from experiments.sweeping.definition import Definition
from experiments.sweeping.distributions import Parameter
from experiments.sweeping.trials import as_word

Point = tuple[Mapping[str, Any], float]


def sweep_chart(path: Path, definition: Definition, points: Sequence[Point]) -> bool:
    """Draws a panel a parameter, a dot a finished trial; returns False if there are none.

    Args:
        path: Of the PNG.
        definition: The sweep's.
        points: The values of each finished trial and its figure.
    """
    shown = definition.settings or definition.varied
    if not points or not shown:
        return False
    values = [value for _, value in points]
    best = (min if definition.goal == "minimize" else max)(values)
    figure, axes = panels(len(shown), 4.4, 3.2)
    for axis, parameter in zip(axes, shown, strict=False):
        places = _places(axis, parameter, [drawn[parameter.name] for drawn, _ in points])
        axis.scatter(places, values, s=24, alpha=0.75, zorder=2)
        marked = [place for place, value in zip(places, values, strict=True) if value == best]
        axis.scatter(marked, [best] * len(marked), s=90, marker="*", color="tab:red", zorder=3)
        axis.set_xlabel(parameter.name, fontsize=9)
        axis.set_ylabel(definition.metric, fontsize=9)
        axis.grid(alpha=0.25)
    figure.suptitle(f"{definition.name}: {len(points)} trials, star: the best one", fontsize=10)
    save_figure(figure, path)
    return True


def _places(axis: Any, parameter: Parameter, values: Sequence[Any]) -> list[float]:
    """The x of every value; words, and few numbers, stand side by side in the file's order."""
    listed = parameter.settings.get("values")
    if listed is not None:
        words = [as_word(value) for value in listed]
        tilted = len("".join(words)) > 40
        rotation = {"rotation": 30, "ha": "right"} if tilted else {}
        axis.set_xticks(range(len(words)), words, fontsize=8, **rotation)
        axis.set_xlim(-0.5, len(words) - 0.5)
        return [float(words.index(as_word(value))) for value in values]
    if parameter.logarithmic:
        axis.set_xscale("log")
    return [float(value) for value in values]
