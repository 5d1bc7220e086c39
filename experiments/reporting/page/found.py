"""What a run's folder holds, of whatever kind and in whatever state."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.run_table import read_table
from experiments.cli.variants import METHOD_GROUP, budgeted_name, group_of
from experiments.reporting.records import (
    Row,
    SeedRun,
    configured_variants,
    read_references,
    read_run,
    read_specification,
    read_variants,
)
from experiments.reporting.variants import read_configuration
from osdface.errors import UserError
from osdface.files import read_json
from osdface.run_folder import read_status

STAGE1 = ("hq_dictionary", "lq_dictionary", "association")  # as they run; others by name


@dataclass(frozen=True)
class Part:
    """One training: a variant with a seed, or one of the trainings of a single run.

    Attributes:
        name: Of the variant or training; the same for all seeds.
        seed: Name of the seed's folder, empty for a single one.
        folder: Where its ``metrics.csv`` and pictures are.
        place: Number of the name, which chooses the colour.
    """

    name: str
    seed: str
    folder: Path
    place: int

    @property
    def label(self) -> str:
        return f"{self.name} {self.seed}".strip()


@dataclass(frozen=True)
class Found:
    """Everything that the page tells of one folder.

    Attributes:
        folder: The run's folder.
        references_folder: Its ``references``, or those of the ablation above a variant.
        config: Its ``config.yaml``, empty if absent or broken.
        environment: Its ``environment.json``, likewise.
        is_ablation: Whether ``rows`` are variants.
        rows: Variants, or the one run.
        references: The reference rows.
        specification: Metric -> what measures it.
        parts: The trainings with curves or pictures.
        absent: Variants of the configuration that have not begun.
    """

    folder: Path
    references_folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    is_ablation: bool
    rows: list[Row]
    references: list[Row]
    specification: dict[str, str]
    parts: list[Part]
    absent: list[str]

    @property
    def title(self) -> str:
        return str(self.config.get("experiment") or self.folder.name)

    @property
    def command(self) -> str:
        words = self.environment.get("command")
        return shlex.join(map(str, words)) if isinstance(words, list) else ""


def read_mapping(path: Path) -> dict[str, Any]:
    """Returns the JSON object of a file, empty if absent or broken."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def last_validation(folder: Path) -> tuple[int, dict[str, float]]:
    """Returns step and figures of the last validation in ``metrics.csv``; (0, {}) without one."""
    for row in reversed(read_table(folder / "metrics.csv")):
        figures = {k.removeprefix("val/"): float(v) for k, v in row.items() if k[:4] == "val/"}
        if figures:
            return int(row["step"]), figures
    return 0, {}


def _home_of_references(folder: Path, config: dict[str, Any]) -> Path:
    """Returns the folder with ``references/``: the run's own, or that of its ablation above."""
    places = [folder]
    if config.get("task") == "ablation":
        places += [folder.parent, folder.parent.parent]
    return next((each for each in places if (each / "references").is_dir()), folder)


def read_folder(folder: str | Path, is_ablation: bool = False) -> Found:
    """Reads a run's folder, of an ablation if ``is_ablation`` or its content says so.

    Raises:
        UserError: It is no run's folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    config = read_configuration(folder)
    has_status = (folder / "status.json").is_file()
    if not is_ablation and not config and not has_status:
        raise UserError(
            f"{folder} is no run's folder: it has neither config.yaml nor status.json. Name the "
            "output_dir of a run."
        )
    # The folder of one variant holds the ablation's task in its configuration too.
    is_ablation |= config.get("task") == "ablation" and not has_status
    rows = read_variants(folder) if is_ablation else [_single(folder, config)]
    home = _home_of_references(folder, config)
    present = {row.name for row in rows}
    return Found(
        folder,
        home / "references",
        config,
        read_mapping(folder / "environment.json"),
        is_ablation,
        rows,
        read_references(home),
        read_specification(home),
        _parts(folder, rows, is_ablation),
        [name for name in configured_variants(folder) if name not in present]
        if is_ablation
        else [],
    )


def _job_name(config: dict[str, Any]) -> Any:
    """The name of the variant that a job's configuration trains."""
    if group_of(config.get("experiment")) == METHOD_GROUP and isinstance(
        config.get("method"), dict
    ):
        return budgeted_name(str(config["method"].get("name")), str(config.get("budget")))
    return config.get("variant")


def _single(folder: Path, config: dict[str, Any]) -> Row:
    name = _job_name(config) if config.get("task") == "ablation" else config.get("experiment")
    run = read_run(folder) if read_status(folder) else SeedRun(folder, "running", "not begun")
    return Row(str(name or folder.name), [run])


def _parts(folder: Path, rows: list[Row], is_ablation: bool) -> list[Part]:
    if is_ablation or (folder / "metrics.csv").is_file():
        return [
            Part(row.name, run.folder.name if len(row.runs) > 1 else "", run.folder, place)
            for place, row in enumerate(rows)
            for run in row.runs
        ]
    order = {name: place for place, name in enumerate(STAGE1)}
    tables = sorted(
        folder.glob("*/metrics.csv"),
        key=lambda path: (order.get(path.parent.name, len(order)), path.parent.name),
    )
    return [Part(path.parent.name, "", path.parent, i) for i, path in enumerate(tables)]
