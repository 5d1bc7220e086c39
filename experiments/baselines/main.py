"""From the words of the benchmark to its tables."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.baselines.methods import Method
from experiments.baselines.options import allowed, check, chosen_methods, listed
from experiments.baselines.pictures import list_pictures
from experiments.baselines.records import FILE, Record, read_record
from experiments.baselines.rendering import markdown, write_tables
from experiments.baselines.running import given_images, run_method
from experiments.baselines.runs import RESTORED, Run, Settings
from experiments.baselines.tables import TABLE_OF, suite_table, tables_from_disk
from experiments.cli.lock import FolderLock
from experiments.evaluation.scoring import ScoringSettings, measures, score
from osdface.devices import default_device
from osdface.errors import UserError

SCORES = ".scores"  # figures of images that were scored before


def work(values: Mapping[str, Any]) -> list[str]:
    """Runs, scores and tabulates; returns the closing lines.

    Raises:
        UserError: The words make no sense, or a folder or weight file is missing.
    """
    check(values)
    if values["table"]:
        return _from_disk(values)
    methods = chosen_methods(values)
    inputs = list_pictures(values["input"], "input")
    if values["reference"]:
        _check_references(inputs, list_pictures(values["reference"], "reference"))
    scoring = _scoring(values)
    specification = measures(values["suite"], scoring)  # what is missing is said before hours
    folder = Path(values["output_dir"]).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    if not lock.acquire():
        raise UserError(f"Another process writes into {folder}: wait for it.")
    try:
        record = Record(
            values["suite"],
            values["set"] or "",
            len(inputs),
            _digest(inputs, values["reference"]),
            {key: asdict(measure) for key, measure in specification.items()},
            _machine(),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        _go_on(record, folder)
        for method in methods:
            record.add(method, _scored(method, inputs, folder, values, scoring))
            record.write(folder)
        return _closing(record, folder)
    finally:
        lock.release()


def _digest(inputs: Mapping[str, Path], reference: str | None) -> str:
    stamps = [[key, p.stat().st_size, p.stat().st_mtime_ns] for key, p in inputs.items()]
    place = str(Path(reference).resolve()) if reference else ""
    return hashlib.sha256(json.dumps([stamps, place]).encode()).hexdigest()[:16]


def _go_on(record: Record, folder: Path) -> None:
    """Keeps what other commands have put into the same folder."""
    if not (folder / FILE).is_file():
        return
    before = read_record(folder / FILE)
    if not record.take_over(before) and before.entries:
        names = ", ".join(before.entries)
        _tell(f"{folder} had a benchmark of other pictures or scores ({names}): begun anew.")


def _from_disk(values: Mapping[str, Any]) -> list[str]:
    runs = Path(values["runs"]).expanduser()
    tables = tables_from_disk(values["table"], runs)
    folder = Path(values["output_dir"]).expanduser() if values["output_dir"] else runs
    name = values["table"] if values["table"].startswith("abl") else f"table_{values['table']}"
    paths = write_tables(tables, folder, name if name.startswith("table") else f"table_{name}")
    return [*map(markdown, tables), *(str(path.absolute()) for path in paths)]


def _scoring(values: Mapping[str, Any]) -> ScoringSettings:
    def named(key: str) -> str | None:
        return None if values[key] == "none" else values[key]

    return ScoringSettings(
        *map(named, ("perceptual", "identity", "landmarks", "features")),
        weights_dir=values["weights_dir"],
        device=values["device"],
        metrics=tuple(listed(values["metrics"])) if values["metrics"] else None,
        fid_reference=values["fid_reference"],
        cache=str(Path(values["output_dir"]).expanduser().absolute() / SCORES),
    )


def _scored(
    method: Method,
    inputs: Mapping[str, Path],
    folder: Path,
    values: Mapping[str, Any],
    scoring: ScoringSettings,
) -> Run:
    """Runs a method, or takes the images that are there, and scores them."""
    own = folder / method.key
    if values["outputs"]:
        images = Path(values["outputs"]).expanduser() / method.key
        run = given_images(images, method.suffix, inputs, allowed(values), own)
    else:
        settings = Settings(values["timeout"] or None, values["timing"], allowed(values))
        run = run_method(method, inputs, own, settings, _tell)
    if run.scorable:
        _tell(f"{method.key}: scoring {run.images} image(s)")
        run.values = score(own / RESTORED, values["reference"], values["suite"], scoring)
    _tell(f"{method.key}: {run.state}" + (f", {run.reason}" if run.reason else ""))
    return run


def _check_references(inputs: Mapping[str, Path], references: Mapping[str, Path]) -> None:
    if missing := sorted(inputs.keys() - references.keys()):
        raise UserError(f"reference= lacks {', '.join(missing[:10])}, which input= holds.")


def _machine() -> str:
    device = default_device()
    name = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    if device.type == "cuda":
        import torch

        return f"{torch.cuda.get_device_name(device)}, {name}"
    return name


def _closing(record: Record, folder: Path) -> list[str]:
    which = TABLE_OF[record.suite]
    record.folder = folder
    paths = write_tables([suite_table([record], which)], folder, f"table_{which}")
    lines = []
    for key, entry in record.entries.items():
        run = entry.run
        speed = f", {run.seconds_per_image:.3f} s/image" if run.seconds_per_image else ""
        lines.append(
            f"{key:18} {run.state:10} {run.images}/{run.wanted} images{speed} {run.reason}"
        )
    return [*(line.rstrip() for line in lines), *map(str, paths)]


def _tell(text: str) -> None:
    print(text, flush=True)
