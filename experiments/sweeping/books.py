"""A sweep's folder: what it was begun with, and how each trial stands.

The folder of a trial is the output folder of its run, whose ``status.json`` says how it stands.
What that file cannot know (a process that died, or never came so far) is noted in ``records/``.
"""

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.folders import new_folder
from experiments.reporting.records import SeedRun, read_run
from experiments.sweeping.definition import Definition, parse_definition
from experiments.sweeping.options import Options
from experiments.sweeping.trials import LOG, Trial, trial
from osdface.errors import UserError
from osdface.files import read_json, write_json
from osdface.run_folder import STATUS, is_finished

BOOK = "sweep.json"
RECORDS = "records"
DRAWN = "drawn"
SWEEPS = Path("outputs") / "sweeps"
# What may differ between a sweep and its continuation.
_FREE = ("progress", "logger")
# Of a process that a signal asked to end (HUP, INT, USR1, USR2, TERM): the next start goes on.
INTERRUPTED = (129, 130, 138, 140, 143, -1, -2, -10, -12, -15)


@dataclass(frozen=True)
class Book:
    """What a sweep was begun with."""

    folder: Path
    definition: Definition
    further: Mapping[str, str]
    draw_seed: int
    count: int

    def trials(self) -> list[Trial]:
        """Returns the trials of the sweep, in order; of a Bayesian one those drawn so far."""
        if self.definition.method == "bayes":
            return drawn_trials(self.folder)
        numbers = range(1, self.count + 1)
        return [trial(self.definition, number, self.draw_seed) for number in numbers]

    def log(self, chosen: Trial) -> Path:
        """Returns the file that a trial's process writes to."""
        return self.folder / LOG / f"{chosen.name}.log"


def content(definition: Definition, options: Options) -> dict[str, Any]:
    """Returns what a sweep is, as JSON values: what its continuation has to be equal in."""
    return {
        "sweep": {**definition.raw, "name": definition.name, "method": definition.method},
        "words": dict(options.further),
        "draw_seed": options["draw_seed"],
    }


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns what two sweeps differ in, apart from what may differ."""
    found = [] if old.get("draw_seed") == new["draw_seed"] else ["draw_seed"]
    old_file, new_file = old.get("sweep") or {}, new["sweep"]
    for key in ("method", "metric", "parameters"):
        if old_file.get(key) != new_file.get(key):
            found.append(f"the file's {key}:")
    old_words, new_words = old.get("words") or {}, new["words"]
    for key in sorted({*old_words, *new_words}):
        if key.partition(".")[0] not in _FREE and old_words.get(key) != new_words.get(key):
            found.append(key)
    return found


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found = read_json(folder / BOOK)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def choose(wanted: Mapping[str, Any], options: Options, *, make: bool = True) -> Path:
    """Returns the sweep's absolute folder, made where it is new.

    Args:
        wanted: The :func:`content` of the sweep.
        options: The user's.
        make: False only says what the folder would be.

    Raises:
        UserError: The folder holds something else.
    """
    given, again = options["output_dir"], options["resume"] == "auto"
    if not given:
        parent = (SWEEPS / str(wanted["sweep"]["name"]).replace("/", "_")).absolute()
        for folder in sorted(parent.glob(f"*/{BOOK}"), reverse=True) if again else ():
            old = _read(folder.parent)
            if old is not None and not differing(old, wanted):
                return folder.parent
        return new_folder(parent) if make else parent / "DATE_TIME"
    folder = Path(given).absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir={folder} is a file, not a folder.")
    old = _read(folder)
    if old is None:
        if folder.is_dir() and any(each.name != ".lock" for each in folder.iterdir()):
            raise UserError(f"{folder} is not empty but no sweep's folder ({BOOK}): take another.")
    elif not again:
        raise UserError(f"{folder} is not empty, and resume=never: take another folder.")
    elif different := differing(old, wanted):
        raise UserError(
            f"{folder} holds another sweep, which differs in {', '.join(different[:8])}: give the "
            "same, or another output_dir=."
        )
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return folder


def keep(folder: Path, wanted: Mapping[str, Any], count: int) -> None:
    """Writes what the sweep is; a smaller count than before leaves the trials that are there."""
    before = int((_read(folder) or {}).get("count") or 0)
    write_json(folder / BOOK, {**wanted, "count": max(count, before)})


def open_book(folder: Path) -> Book:
    """Reads a sweep's folder.

    Raises:
        UserError: It is none.
    """
    found = _read(folder) or {}
    try:
        numbers = int(found["draw_seed"]), int(found["count"])
        words = {str(key): str(text) for key, text in found["words"].items()}
        raw = found["sweep"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{folder} is no sweep's folder: it holds no readable {BOOK}.") from None
    definition = parse_definition(raw, folder.name, str(folder / BOOK))
    return Book(folder, definition, words, *numbers)


def drawn_path(folder: Path, run_id: str) -> Path:
    """Returns where the values are noted that W&B's server drew for a run."""
    return folder / DRAWN / f"{run_id}.json"


def drawn_trials(folder: Path) -> list[Trial]:
    """Returns the trials that W&B's server has drawn for a sweep, oldest first."""
    files = sorted((folder / DRAWN).glob("*.json"), key=lambda file: file.stat().st_mtime)
    found = ((file.stem, read_json(file)["values"]) for file in files)
    return [Trial(n, values, run_id) for n, (run_id, values) in enumerate(found, 1)]


def record_path(folder: Path, chosen: Trial) -> Path:
    """Returns where the outcome of a trial's process is noted."""
    return folder / RECORDS / f"{chosen.name}.json"


def note(folder: Path, chosen: Trial, exit_status: int | None, reason: str | None = None) -> None:
    """Notes that a trial's process has begun (None), or how it ended."""
    write_json(record_path(folder, chosen), {"exit_status": exit_status, "reason": reason})


def state(book: Book, chosen: Trial) -> SeedRun | None:
    """Returns how a trial stands, None if it has not begun."""
    run_folder = book.folder / chosen.name
    try:
        record = read_json(record_path(book.folder, chosen))
    except (OSError, ValueError):
        record = {}
    code, why = record.get("exit_status"), record.get("reason")
    if (run_folder / STATUS).is_file():
        run = read_run(run_folder)
        if run.status == "running" and code not in (None, 0, *INTERRUPTED):
            run.status, run.reason = "failed", why or f"its process ended with exit status {code}"
        return run
    if not record:
        return None
    if code is None or code in INTERRUPTED:
        return SeedRun(run_folder, "running", "not finished, before its first step")
    return SeedRun(run_folder, "failed", why or f"its process ended with exit status {code}")


def is_done(book: Book, chosen: Trial) -> bool:
    """Returns whether a trial is finished."""
    return is_finished(book.folder / chosen.name)


def claim(folder: Path, chosen: Trial) -> int | None:
    """Returns an open descriptor that holds a trial, None where another process holds it.

    A process that inherits the descriptor holds the trial too, for as long as it lives: also where
    the one that started it was killed.
    """
    path = record_path(folder, chosen).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass  # a file system without locks
    return descriptor
