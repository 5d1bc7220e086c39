"""What a comparison of methods says beyond an ablation: budgets, their tables, costs."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from callbacks.run_table import read_table
from experiments.cli.groups import options
from experiments.cli.variants import BUDGETS, METHOD_GROUP, group_of, method_and_budget
from experiments.reporting.published import COMPLEXITY_ROWS, complexity_rows
from experiments.reporting.records import Row, SeedRun, configured_variants
from experiments.reporting.tables import csv_text, figure, markdown_table
from experiments.reporting.variants import read_configuration
from osdface.files import read_json

SEEN, SPENT = "throughput/images_seen", "throughput/training_seconds"
_COSTS = ("method", "params", "trainable", "macs", "seconds_per_image")
_PUBLISHED = ("published_params", "published_macs", "published_seconds")
_HEADINGS = {
    BUDGETS[0]: "At equal images: every method trains on {images} images",
    BUDGETS[1]: "At equal training time: every method trains for {seconds:g} s",
}
_NOTES = (
    "\nA method's learning rate, batch and schedule are its own; a schedule that falls, falls over "
    "the budget. Training time leaves out validation and checkpoints. All are scored on the same "
    "pairs, degraded as `data.val_degradation.preset={preset}`. The reference `untrained` is "
    "the generator of `{first}` before training.\n"
)
COST_NOTES = (
    "Ours at this scale, LoRA merged; seconds by this machine. M: millions; GMACs of one image. "
    "Published: the OSDFace paper at 512x512 with Stable Diffusion 2.1, on the authors' GPU; its "
    "figures are comparable with `python -m experiments.complexity scale=sd21 method=NAME`, not "
    "with ours here.\n"
)


def is_of_methods(output_dir: Path) -> bool:
    """True for a comparison of methods."""
    return group_of(read_configuration(output_dir).get("experiment")) == METHOD_GROUP


def last_value(run: SeedRun, key: str) -> float | None:
    """Returns the last logged value of a key of a run's ``metrics.csv``; None without one."""
    values = [row[key] for row in read_table(run.folder / "metrics.csv") if key in row]
    return float(values[-1]) if values else None


def _mean(row: Row, key: str) -> float | None:
    found = [value for run in row.finished if (value := last_value(run, key)) is not None]
    return statistics.fmean(found) if found else None


def spent(row: Row) -> dict[str, float | None]:
    """Returns the mean steps, images and seconds of training of a row's finished runs."""
    steps = [run.step for run in row.finished]
    return {
        "steps": statistics.fmean(steps) if steps else None,
        "images": _mean(row, SEEN),
        "training_seconds": _mean(row, SPENT),
    }


def by_budget(variants: Sequence[Row]) -> dict[str, list[Row]]:
    """Returns the rows of each budget, in the order of :data:`BUDGETS`."""
    found: dict[str, list[Row]] = {budget: [] for budget in BUDGETS}
    for row in variants:
        found[method_and_budget(row.name)[1]].append(row)
    return {budget: rows for budget, rows in found.items() if rows}


def comparison_tables(
    output_dir: Path, references: Sequence[Row], variants: Sequence[Row], table: Any
) -> str:
    """Returns the Markdown of all budgets: a heading, figures, and what each run spent.

    Args:
        output_dir: Of the comparison.
        references: Rows that are in every table.
        variants: The methods' rows.
        table: Makes a table of references and rows.
    """
    config = read_configuration(output_dir)
    allowed = _allowed(config)
    parts = []
    for budget, rows in by_budget(variants).items():
        heading = _HEADINGS[budget].format(**allowed) if allowed else f"Budget: {budget}"
        named = [replace(row, name=method_and_budget(row.name)[0]) for row in rows]
        parts.append(f"## {heading}\n\n{table(references, named)}\n{_spent_table(rows)}")
    data = config.get("data")
    held_out = data.get("val_degradation") if isinstance(data, dict) else None
    preset = held_out.get("preset") if isinstance(held_out, dict) else None
    names = configured_variants(output_dir) or [row.name for row in variants] or [""]
    notes = _NOTES.format(preset=preset, first=method_and_budget(names[0])[0])
    return "\n".join(parts) + notes + _methods_note(variants)


def _allowed(config: dict[str, Any]) -> dict[str, Any]:
    try:
        found = config["scale"]["compare"]
        return {"images": int(found["images"]), "seconds": float(found["seconds"])}
    except (KeyError, TypeError, ValueError):
        return {}


def _spent_table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        own = spent(row)
        digits = {"steps": 0, "images": 0, "training_seconds": 1}
        cells = [figure(own[key], digits=places) for key, places in digits.items()]
        lines.append([method_and_budget(row.name)[0], *cells])
    return markdown_table(["method", "steps", "images", "training, s"], lines)


def _methods_note(variants: Sequence[Row]) -> str:
    known = options(METHOD_GROUP)
    names = dict.fromkeys(method_and_budget(row.name)[0] for row in variants)
    lines = [f"- `{name}`: {known[name]}" for name in names if name in known]
    return "\nThe methods:\n\n" + "\n".join(lines) + "\n" if lines else ""


def cost_rows(variants: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns what the restorer of each method costs, the published figures beside it.

    Seconds are the median over a method's runs.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in variants:
        for run in row.finished:
            if costs := _read_costs(run.folder / "complexity.json"):
                found.setdefault(method_and_budget(row.name)[0], []).append(costs)
    published = complexity_rows()
    rows = []
    for method, runs in found.items():
        seconds = [run["time"]["seconds_per_image"] for run in runs if run.get("time")]
        own = {
            "method": method,
            "params": runs[0]["params_total"],
            "trainable": runs[0]["params_trainable"],
            "macs": runs[0]["macs_total"],
            "seconds_per_image": statistics.median(seconds) if seconds else None,
        }
        paper = published.get(COMPLEXITY_ROWS.get(method, ""), {})
        theirs = [paper.get(key) for key in ("params_m", "macs_g", "seconds")]
        rows.append(own | dict(zip(_PUBLISHED, theirs, strict=True)))
    return rows


def _read_costs(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
        return value if isinstance(value, dict) and "params_total" in value else {}
    except (OSError, ValueError):
        return {}


def cost_cells(row: dict[str, Any]) -> list[str]:
    """Returns a row of :func:`cost_rows` as text, in the order of :data:`COST_HEADER`."""
    seconds = row["seconds_per_image"]
    return [
        row["method"],
        f"{row['params'] / 1e6:.3f}",
        f"{row['trainable'] / 1e6:.3f}",
        f"{row['macs'] / 1e9:.3f}",
        "–" if seconds is None else f"{seconds:.4f}",
        *(str(row[key] or "–") for key in _PUBLISHED),
    ]


COST_HEADER = (
    "method",
    "parameters, M",
    "trainable, M",
    "GMACs",
    "s an image",
    "published parameters, M",
    "published GMACs",
    "published s",
)


def costs_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns ``complexity.md``: what each restorer costs."""
    return (
        "# Costs\n\n"
        + markdown_table(COST_HEADER, list(map(cost_cells, rows)))
        + (f"\n{COST_NOTES}")
    )


def costs_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Returns ``complexity.csv``, in units, not millions; published ones in M and G."""
    return csv_text((*_COSTS, *_PUBLISHED), rows)
