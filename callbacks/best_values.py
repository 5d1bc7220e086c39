"""The figures of a run's best checkpoint."""

from pathlib import Path
from typing import Any

from callbacks.run_table import read_table
from osdface.files import read_json


def best_values(run_dir: Path) -> dict[str, Any]:
    """Returns the figures of ``checkpoints/best.ckpt`` for a run's summary, ``best/<metric>``.

    They stand beside ``final/<metric>``, those of the last validation. Beside them ``best/step``,
    and ``best/chosen_by``: the metric that chose the checkpoint. Empty where none was chosen.
    """
    try:
        best = read_json(run_dir / "checkpoints" / "best.json")
        step, metric = int(best["step"]), str(best["metric"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    rows = [row for row in read_table(run_dir / "metrics.csv") if int(row["step"]) == step]
    found = {
        f"best/{key.removeprefix('val/')}": float(cell)
        for row in rows
        for key, cell in row.items()
        if key.startswith("val/")
    }
    value = {f"best/{metric}": float(best["value"])}
    return {**found, **value, "best/step": step, "best/chosen_by": metric}
