"""What an ablation's output folder holds, read into plain records."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.cli.variants import (
    BUDGETS,
    METHOD_GROUP,
    budgeted_name,
    group_of,
    variant_names,
)
from osdface.errors import UserError
from osdface.files import read_json
from osdface.run_folder import read_status

REFERENCES = ("degraded", "lq_roundtrip", "hq_roundtrip", "untrained")


@dataclass(frozen=True)
class Metric:
    """A column of the tables; ``higher`` says whether higher is better."""

    name: str
    label: str
    higher: bool
    digits: int = 4

    @property
    def arrow(self) -> str:
        return "↑" if self.higher else "↓"


METRICS = (
    Metric("psnr", "PSNR, dB", True, 2),
    Metric("perceptual", "perceptual distance", False),
    Metric("identity", "identity cosine", True),
    Metric("ssim", "SSIM", True),
    Metric("identity_angle", "identity angle, degrees", False, 2),
    Metric("l1", "L1", False),
)


@dataclass
class SeedRun:
    """One run folder: its status and, if it finished, its figures."""

    folder: Path
    status: str
    reason: str | None = None
    step: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.status == "finished"


@dataclass
class Row:
    """One row of the table: a reference, or a variant over its seeds."""

    name: str
    runs: list[SeedRun] = field(default_factory=list)
    reference: dict[str, float] | None = None

    @property
    def finished(self) -> list[SeedRun]:
        return [run for run in self.runs if run.finished]

    @property
    def status(self) -> str:
        """``reference``, ``finished``, ``running``, ``failed``, or ``partly failed``.

        Of several seeds any failed one makes the row ``failed`` or, if others finished,
        ``partly failed``; its figures are then those of the finished seeds.
        """
        if self.reference is not None:
            return "reference"
        states = {run.status for run in self.runs}
        if "failed" in states:
            return "partly failed" if self.finished else "failed"
        return "finished" if states == {"finished"} else "running"

    @property
    def failed(self) -> bool:
        return self.status in ("failed", "partly failed")

    @property
    def reason(self) -> str:
        """Why seeds are missing, one line; empty if none are."""
        seeds: dict[str, list[str]] = {}
        for run in self.runs:
            if not run.finished:
                seeds.setdefault(str(run.reason), []).append(run.folder.name)
        if len(self.runs) == 1:
            return "; ".join(seeds)
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in seeds.items())

    def values(self, metric: str) -> list[float]:
        """Returns the metric of every finished seed, or of the reference."""
        if self.reference is not None:
            tables = [self.reference]
        else:
            tables = [run.metrics for run in self.finished]
        return [table[metric] for table in tables if metric in table]

    def mean(self, metric: str) -> float | None:
        """Returns the mean over seeds, None where nothing was measured."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def std(self, metric: str) -> float | None:
        """Returns the sample standard deviation over seeds, None for fewer than two."""
        values = self.values(metric)
        if len(values) < 2:
            return None
        return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def _figures(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("not a table of figures")
    return {key: float(number) for key, number in value.items() if isinstance(number, (int, float))}


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def read_run(folder: Path) -> SeedRun:
    """Reads a run folder; one that says finished but has no readable figures counts as failed."""
    raw = read_status(folder)
    status = str(raw.get("status", "failed"))
    run = SeedRun(folder, status, raw.get("reason"), int(raw.get("step") or 0))
    run.seconds = float(raw.get("seconds") or 0.0)
    if not raw:
        run.reason = "status.json is not readable"
    elif run.finished:
        try:
            run.metrics = _figures(read_json(folder / "metrics.json"))
        except (OSError, ValueError):
            run.status, run.reason = "failed", "metrics.json is missing or not readable"
    elif status != "failed":
        run.reason = f"{run.reason or 'not finished'}, at step {run.step}"
    run.reason = run.reason or (None if run.finished else "no reason recorded")
    return run


def _seed(folder: Path) -> tuple[int, str]:
    text = folder.name.removeprefix("seed-")
    return (int(text) if text.isdigit() else 10**9, text)


def configured_variants(output_dir: Path) -> list[str]:
    """Returns the variants' names in the order of ``config.yaml``, empty if it names none."""
    try:
        config = yaml.safe_load((output_dir / "config.yaml").read_text(encoding="utf-8")) or {}
        names = config.get("variants") or []
        names = names.split(",") if isinstance(names, str) else [str(name) for name in names]
    except (OSError, AttributeError, TypeError, yaml.YAMLError):
        return []
    names = [name.strip() for name in names]
    group = group_of(config.get("experiment"))
    try:  # "default" and "factorial" stand for lists
        names = variant_names(names, names, group) if names else []
    except UserError:
        return names
    if group == METHOD_GROUP:
        budgets = config.get("budgets") or BUDGETS
        return [budgeted_name(name, budget) for budget in budgets for name in names]
    return names


def read_variants(output_dir: str | Path, order: Sequence[str] | None = None) -> list[Row]:
    """Returns the variants found on disk in config order, others after them by name.

    A variant is a folder with a ``status.json`` or with ``seed-<k>`` folders that have one.
    """
    output_dir = Path(output_dir)
    rows = []
    for folder in sorted(path for path in output_dir.iterdir() if path.is_dir()):
        seeds = sorted(folder.glob("seed-*/status.json"), key=lambda path: _seed(path.parent))
        own = [folder / "status.json"] if (folder / "status.json").is_file() else []
        if runs := [read_run(path.parent) for path in (seeds or own)]:
            rows.append(Row(folder.name, runs))
    order = list(order if order is not None else configured_variants(output_dir))
    place = {name: index for index, name in reversed(list(enumerate(order)))}
    return sorted(rows, key=lambda row: (place.get(row.name, len(order)), row.name))


def read_references(output_dir: str | Path) -> list[Row]:
    """Returns the reference rows of ``references/metrics.json``; missing ones are left out."""
    found = _read(Path(output_dir) / "references" / "metrics.json")
    found = found if isinstance(found, dict) else {}
    names = [*REFERENCES, *sorted(set(found) - set(REFERENCES))]
    return [
        Row(name, reference=_figures(found[name]))
        for name in names
        if isinstance(found.get(name), dict)
    ]


def read_specification(output_dir: str | Path) -> dict[str, str]:
    """Returns metric -> what measures it (``references/specification.json``), empty if absent."""
    found = _read(Path(output_dir) / "references" / "specification.json")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
