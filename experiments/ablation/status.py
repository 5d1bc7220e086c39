"""``status.json`` of a run's folder: the only memory between processes."""

import json
from pathlib import Path
from typing import Any

from osdface.files import read_json, write_json

FILE = "status.json"
_EMPTY = {"status": None, "reason": None, "step": 0, "seconds": 0.0, "wandb_run": None}


def read_status(folder: Path) -> dict[str, Any]:
    """Returns the status of a folder; ``{"status": None, ...}`` where nothing has begun."""
    try:
        found = read_json(folder / FILE)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        found = {}
    return {**_EMPTY, **(found if isinstance(found, dict) else {})}


def update_status(folder: Path, **changes: Any) -> dict[str, Any]:
    """Changes some entries and keeps the others; a pipeline tells ``step`` and ``wandb_run``."""
    status = {**read_status(folder), **changes}
    write_json(folder / FILE, status)
    return status


def is_finished(folder: Path) -> bool:
    """True if the folder's run came to its end."""
    return bool(read_status(folder)["status"] == "finished")
