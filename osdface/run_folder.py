"""A run's folder as several processes see it: ``status.json`` and what waits for W&B's upload.

It imports nothing heavy, since the command line needs it before any training begins.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from osdface.files import read_json, write_json

STATUS = "status.json"
STAGE1 = "stage1.json"
_EMPTY = {"status": None, "reason": None, "step": 0, "seconds": 0.0, "wandb_run": None}


def one_line(error: BaseException) -> str:
    """Returns ``Type: first line of the message``, 300 characters at most."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}"[:300] if lines else type(error).__name__


def interruption(error: BaseException) -> str:
    """Returns the reason of a run that Ctrl-C or a signal ended: the next start goes on."""
    return f"interrupted ({str(error) or type(error).__name__})"


def read_status(run_dir: str | Path) -> dict[str, Any]:
    """Reads ``status.json``; a missing or broken file gives an empty dict."""
    try:
        status = read_json(Path(run_dir) / STATUS)
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def write_status(
    run_dir: str | Path,
    status: str,
    reason: str | None = None,
    step: int = 0,
    seconds: float = 0.0,
    wandb_run: str | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Writes ``status.json`` atomically.

    ``status``: ``running``, ``finished`` or ``failed``; ``reason``: one line, of a failure;
    ``step``: generator steps done; ``seconds``: wall time over all resumes; ``wandb_run``: the
    W&B run's id or address; ``warnings``: what is wrong with the run, left out where nothing is.
    """
    value: dict[str, Any] = {
        "status": status,
        "reason": reason,
        "step": int(step),
        "seconds": round(float(seconds), 2),
        "wandb_run": wandb_run,
    }
    if warnings:
        value["warnings"] = list(warnings)
    write_json(Path(run_dir) / STATUS, value)


def update_status(run_dir: str | Path, **changes: Any) -> None:
    """Changes some entries of ``status.json`` and keeps the others, such as ``step``."""
    write_json(Path(run_dir) / STATUS, {**_EMPTY, **read_status(run_dir), **changes})


def is_finished(run_dir: str | Path) -> bool:
    """Returns whether the folder's run came to its end."""
    return bool(read_status(run_dir).get("status") == "finished")


def offline_folders(run_dir: str | Path, *, nested: bool = False) -> list[Path]:
    """Returns W&B's offline runs of a run folder, ``nested``: and of those below, oldest first."""
    found = Path(run_dir).glob("**/wandb/offline-run-*" if nested else "wandb/offline-run-*")
    return sorted((run for run in found if run.is_dir()), key=lambda run: run.name)


def note_stage1(run_dir: str | Path, folder: Path) -> None:
    """Notes in ``stage1.json`` which folder of the cache a run took its VRE from."""
    known = stage1_folders(run_dir)
    if folder not in known:
        write_json(Path(run_dir) / STAGE1, [str(each) for each in (*known, folder)])


def stage1_folders(run_dir: str | Path) -> list[Path]:
    """Returns the noted folders; none where stage 1 was given."""
    try:
        return [Path(each) for each in read_json(Path(run_dir) / STAGE1)]
    except (OSError, ValueError):
        return []


def sync_command(run_dir: str | Path, *, nested: bool = False) -> str | None:
    """Returns the ``wandb sync`` command of a run and its stage 1, None if nothing is offline."""
    places = [*stage1_folders(run_dir), run_dir] if nested else [run_dir]
    runs = [run for place in places for run in offline_folders(place, nested=nested)]
    return " ".join(["wandb", "sync", *(shlex.quote(str(run)) for run in runs)]) if runs else None
