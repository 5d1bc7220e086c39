"""The output folder: chosen once, locked, resumed only with an equal configuration."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from experiments.cli.checks import check_path
from experiments.cli.lock import FolderLock
from osdface.errors import UserError, disk_full

CONFIG = "config.yaml"
# What may differ between a run and its continuation.
_FREE = ("resume", "output_dir", "progress", "part", "logger", "launcher", "slurm")
OUTPUTS = Path("outputs")


def read_config(folder: Path) -> dict[str, Any] | None:
    """Returns the configuration saved in a run's folder, or None if it is not there or broken."""
    try:
        loaded = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
    return loaded if isinstance(loaded, dict) else None


def dump_config(config: dict[str, Any]) -> str:
    """Returns a plain configuration as YAML."""
    return str(yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=100))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, value) of everything in a plain configuration but its sections."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from flat(child, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def differing_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns the keys in which two configurations differ, apart from those that may."""
    both = [
        {key: value for key, value in flat(each) if key.partition(".")[0] not in _FREE}
        for each in (old, new)
    ]
    keys = sorted(both[0].keys() | both[1].keys())
    missing = object()
    return [key for key in keys if both[0].get(key, missing) != both[1].get(key, missing)]


def _check_same(folder: Path, config: dict[str, Any]) -> None:
    old = read_config(folder)
    if old is None:
        raise UserError(f"{folder} is not empty but no run's folder ({CONFIG}): take another.")
    if different := differing_keys(old, config):
        shown = ", ".join(different[:8]) + (" and more" if len(different) > 8 else "")
        raise UserError(
            f"{folder} holds a run of another configuration, which differs in {shown}: "
            "give the same values, or another output_dir=."
        )


def _lock(folder: Path) -> FolderLock:
    lock = FolderLock(folder)
    if not lock.acquire():
        raise UserError(f"Another process is writing into {folder}: wait for it or end it first.")
    return lock


def _new_names(parent: Path) -> Iterator[Path]:
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        yield parent / (name if attempt == 1 else f"{name}_{attempt}")


def new_folder(parent: Path) -> Path:
    """Makes and returns a folder named by date and time.

    Raises:
        UserError: It cannot be made there.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for folder in _new_names(parent):
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        if disk_full(error):
            raise
        raise UserError(
            f"{parent} cannot be written ({error.strerror}): name another folder by output_dir=."
        ) from error
    raise UserError(f"No new folder could be made below {parent}.")


def choose_folder(
    config: dict[str, Any], is_finished: Callable[[Path], bool], *, locked: bool = True
) -> tuple[Path, FolderLock | None, bool]:
    """Returns the run's absolute folder, the lock on it, and whether a run goes on there.

    Args:
        config: The plain configuration of the new run.
        is_finished: Tells whether a folder's run has nothing left to do.
        locked: False where the process that started this one holds the folder.

    Raises:
        UserError: The folder holds something else, a different configuration, or is in use.
    """
    if folder := _named_folder(config):
        return _given_folder(folder, config, locked)
    parent = (OUTPUTS / config["experiment"]).absolute()
    if config["resume"] == "auto":
        for folder in _unfinished(parent, config, is_finished):
            lock = FolderLock(folder)
            try:
                held = lock.acquire()
            except OSError as error:
                raise UserError(
                    f"{folder} holds this run, unfinished, and cannot be written "
                    f"({error.strerror}): resume=never begins anew."
                ) from error
            if held:
                return folder, lock, True
    folder = new_folder(parent)
    return folder, _lock(folder), False


def planned_folder(config: dict[str, Any], is_finished: Callable[[Path], bool]) -> Path:
    """Returns the absolute folder of a run that other processes will do; makes and locks nothing.

    Of unfinished runs it takes the newest, at work or not.

    Raises:
        UserError: The folder holds something else or a different configuration.
    """
    if folder := _named_folder(config):
        _is_used(folder, config)
        return folder
    parent = (OUTPUTS / config["experiment"]).absolute()
    if config["resume"] == "auto":
        for folder in _unfinished(parent, config, is_finished):
            return folder
    return next(folder for folder in _new_names(parent) if not folder.exists())


def _named_folder(config: dict[str, Any]) -> Path | None:
    """The folder that resume= or output_dir= names."""
    resume, given = config["resume"], config["output_dir"]
    if resume not in ("auto", "never"):
        check_path("resume", resume)
        if given and Path(given).absolute() != Path(resume).absolute():
            raise UserError("resume=FOLDER and output_dir= name different folders: give one.")
        given = resume
    return Path(given).absolute() if given else None


def _is_used(folder: Path, config: dict[str, Any]) -> bool:
    """Whether a run of this configuration is in the folder; refuses anything else there."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir={folder} is a file, not a folder.")
    # A lock file alone is what remains of a run that never began.
    used = folder.is_dir() and any(each.name != ".lock" for each in folder.iterdir())
    if used and config["resume"] == "never":
        raise UserError(f"{folder} is not empty, and resume=never: take another folder.")
    if used:
        _check_same(folder, config)
    return used


def _given_folder(
    folder: Path, config: dict[str, Any], locked: bool
) -> tuple[Path, FolderLock | None, bool]:
    used = _is_used(folder, config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder, _lock(folder) if locked else None, used
    except OSError as error:
        if disk_full(error):
            error.filename = error.filename or str(folder)
            raise
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error


def _unfinished(
    parent: Path, config: dict[str, Any], is_finished: Callable[[Path], bool]
) -> Iterator[Path]:
    """The unfinished runs of equal configuration, newest first."""
    folders = sorted(parent.glob(f"*/{CONFIG}"), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in (file.parent for file in folders):
        old = read_config(folder)
        if old is not None and not differing_keys(old, config) and not is_finished(folder):
            yield folder
