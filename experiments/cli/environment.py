"""What a run ran on: versions, git commit, machine."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ENVIRONMENT = "environment.json"
_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "diffusers",
    "peft",
    "transformers",
    "torchmetrics",
    "webdataset",
    "hydra-core",
    "wandb",
    "numpy",
    "opencv-python-headless",
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """The command's output, or None where it is missing or fails."""
    if not shutil.which(command[0]):
        return None
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_commit() -> str | None:
    """Returns the commit of this source tree, with ``+changes`` if files differ from it."""
    commit = _output("git", "rev-parse", "HEAD")
    changes = _output("git", "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changes else commit


def describe(argv: list[str]) -> dict[str, Any]:
    """Returns the description of this process's surroundings as plain JSON values."""
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv")
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": ["python", "-m", "experiments.run", *argv],
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": {package: _version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "gpus": gpus.splitlines()[1:] if gpus else [],
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
