"""Which runs are compared: found on disk, each read into a plain record."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.cli.checks import check_path
from experiments.cli.folders import CONFIG, flat, read_config
from experiments.cli.suggest import unknown
from experiments.reporting.records import (
    SeedRun,
    read_references,
    read_run,
    read_specification,
)
from osdface.errors import UserError
from osdface.files import read_json
from osdface.run_folder import STATUS

# Folders of a run, which hold no further runs.
_INSIDE = {"wandb", "checkpoints", "export", "images", "samples", "references", "logs", "records"}
_LEVELS = 2  # references stand beside a run, or above its variant and seed


@dataclass
class Found:
    """A run to compare.

    Attributes:
        folder: Its own.
        run: Its status and, if it finished, its figures.
        config: Its configuration, by dotted key.
        references: The folder whose ``references/`` belong to it, None where there is none.
        rows: The reference rows' figures, by name.
        specification: Metric -> what measured it.
        commit: Of the code, None where unknown.
    """

    folder: Path
    run: SeedRun
    config: Mapping[str, Any]
    references: Path | None = None
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    specification: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def group(self) -> str:
        return str(self.config.get("logger.group"))


def find_runs(group: str | None, root: str, runs: str | None) -> list[Found]:
    """Returns the runs of a group below ``root``, or those that ``runs`` names.

    Raises:
        UserError: Neither or both are given, or there are none.
    """
    if bool(group) == bool(runs):
        raise UserError("Give group=NAME, or runs=DIR,DIR.")
    if runs:
        found = [read(folder) for place in _places(runs) for folder in _runs_of(place)]
        return list({each.folder: each for each in found}.values())
    check_path("root", root)
    everything = [read(folder) for folder in _walk(Path(root).absolute())]
    found = [each for each in everything if each.group == group]
    if not found and not everything:
        raise UserError(f"There is no run below {Path(root).absolute()}: name another root=.")
    if not found:
        raise unknown("group", str(group), {each.group for each in everything})
    return found


def _places(runs: str) -> list[Path]:
    if Path(runs).exists():
        return [Path(runs).absolute()]
    places: list[Path] = []
    for text in (each.strip() for each in runs.strip("[]").split(",")):
        if glob.has_magic(text) and not Path(text).exists():
            matching = [Path(each).absolute() for each in sorted(glob.glob(text))]
            folders = [each for each in matching if each.is_dir()]
            if not folders:
                raise UserError(f"runs={text}: no folder fits this pattern.")
            places += folders
        elif text:
            check_path("runs", text)
            places.append(Path(text).absolute())
    return places


def _runs_of(folder: Path) -> list[Path]:
    found = list(_walk(folder))
    if not found:
        raise UserError(f"runs={folder}: no run stands there ({CONFIG} with {STATUS}).")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yields every run folder at or below ``folder``, in order."""
    for place, below, files in os.walk(folder):
        below[:] = sorted(each for each in below if each not in _INSIDE and each[0] != ".")
        if CONFIG in files and STATUS in files:
            yield Path(place)


def read(folder: Path) -> Found:
    """Reads one run folder; what is missing there stays empty."""
    found = Found(folder, read_run(folder), dict(flat(read_config(folder) or {})))
    above = [folder, *list(folder.parents)[:_LEVELS]]
    for place in above:
        if (place / "references").is_dir():
            found.references = place
            rows = read_references(place)
            found.rows = {row.name: row.reference for row in rows if row.reference is not None}
            found.specification = read_specification(place)
            break
    for place in above:
        try:
            found.commit = read_json(place / "environment.json")["git_commit"]
            break
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def without_repetitions(runs: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """Keeps one run of each configuration and seed: a finished one, and of these the newest.

    Returns:
        The runs kept, and a sentence on each one that was left out.
    """
    from experiments.comparing.differences import compared

    def worth(run: Found) -> tuple[bool, float]:
        return run.run.finished, (run.folder / STATUS).stat().st_mtime

    kept: dict[str, Found] = {}
    notes = []
    for run in runs:
        same = repr((sorted(compared(run.config).items(), key=str), run.seed))
        first = kept.get(same)
        if first is None:
            kept[same] = run
            continue
        better, other = (run, first) if worth(run) > worth(first) else (first, run)
        kept[same] = better
        notes.append(
            f"{other.folder} is left out: {better.folder} has the same configuration and seed."
        )
    return list(kept.values()), notes
