"""The W&B run of a run folder: account, mode and run id."""

import netrc
import os
from pathlib import Path
from urllib.parse import urlparse
from uuid import uuid4

from osdface.files import write_text

MODES = ("auto", "online", "offline", "disabled")


def has_account() -> bool:
    """Returns whether W&B could log in: a key in the environment, or its host in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = os.environ.get("NETRC") or Path.home() / ".netrc"
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def resolve_mode(mode: str) -> str:
    """Returns ``online``, ``offline`` or ``disabled``.

    ``auto`` obeys WANDB_MODE, then goes online if there is an account.
    """
    if mode not in MODES:
        raise ValueError(f"logger mode must be one of {', '.join(MODES)}, got {mode!r}")
    if mode != "auto":
        return mode
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted in MODES[1:]:
        return wanted
    return "online" if has_account() else "offline"


def stable_run_id(run_dir: Path, run_id: str | None = None) -> str:
    """Returns the run id stored in ``wandb_id.txt``, or stores ``run_id`` or a new one."""
    path = run_dir / "wandb_id.txt"
    if path.is_file() and (stored := path.read_text(encoding="utf-8").strip()):
        return stored
    run_id = run_id or uuid4().hex[:8]
    write_text(path, run_id + "\n")
    return run_id


def trial_run_id() -> str | None:
    """Returns the id that a sweep's agent gives its trial's run, None outside a sweep.

    The server waits for the figures of just this run.
    """
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
