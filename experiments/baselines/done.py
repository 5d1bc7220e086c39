"""Whether a method was run before by the same command on the same pictures."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.baselines.methods import Method
from experiments.baselines.pictures import list_pictures
from experiments.baselines.runs import RECORD, RESTORED, Run, Settings
from osdface.errors import UserError
from osdface.files import read_json

_WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors", ".pkl", ".bin")


def fingerprint_of(method: Method, inputs: Mapping[str, Path], settings: Settings) -> list[Any]:
    """Returns what a run depends on: the method, its inputs and weights, and the settings."""
    stamps = [_stamp(path) for path in inputs.values()]
    weights = [_stamp(file) for path in method.needed().values() for file in _files(path)]
    return [asdict(method), stamps, weights, settings.timing, sorted(settings.allow)]


def _files(path: Path) -> list[Path]:
    """Of a folder its weights: what else lies there, such as logs, may change."""
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if each.suffix in _WEIGHTS and each.is_file())


def _stamp(path: Path) -> list[Any]:
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]


def read_done(folder: Path, fingerprint: list[Any]) -> Run | None:
    """Returns a run that was done by the same settings, and whose pictures are all there."""
    try:
        found = read_json(folder / RECORD)
        run = Run(**found["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if found["fingerprint"] != fingerprint or run.state != "done":
        return None
    try:
        there = len(list_pictures(folder / RESTORED, "restored"))
    except UserError:
        return None
    return run if there == run.images else None
