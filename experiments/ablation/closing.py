"""What is printed at the end: the state of the parts, where things lie, how to upload them."""

import shlex
from pathlib import Path

from experiments.ablation.status import read_status

_FILES = {
    "tables": ("ablation.md", "ablation.csv", "published.md"),
    "pictures": ("comparison.png", "ablation.png"),
    "summary": ("summary.md",),
    "weights": ("export",),
    "figures": ("metrics.json", "metrics.csv"),
}


def offline_runs(output_dir: Path) -> list[Path]:
    """Returns the folders of offline W&B runs, oldest first."""
    found = output_dir.glob("**/wandb/offline-run-*")
    return sorted((run for run in found if run.is_dir()), key=lambda run: run.name)


def table(folders: dict[str, Path]) -> list[str]:
    """Returns one line for each part: name, status, seconds, reason."""
    width = max(map(len, folders), default=0)
    lines = []
    for name, folder in folders.items():
        status = read_status(folder)
        state = status["status"] or "not begun"
        why = f"  {status['reason']}" if status["reason"] else ""
        lines.append(f"{name:{width}}  {state:9}  {status['seconds']:7.0f} s{why}")
    return lines


def closing_lines(output_dir: Path) -> list[str]:
    """Returns where things lie; the last line is the folder itself."""
    lines = []
    for name, files in _FILES.items():
        if there := [file for file in files if (output_dir / file).exists()]:
            lines.append(f"{name:9}{', '.join(there)}")
    if runs := offline_runs(output_dir):
        folders = " ".join(shlex.quote(str(run)) for run in runs)
        lines.append(f"W&B was offline; to upload: wandb sync {folders}")
    return [*lines, str(output_dir)]
