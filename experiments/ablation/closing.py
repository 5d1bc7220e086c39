"""What is printed at the end: the state of the parts, where things lie, how to upload them."""

from pathlib import Path

from osdface.run_folder import read_status, stage1_folders, sync_command

_FILES = {
    "tables": ("ablation.md", "ablation.csv", "published.md", "complexity.md"),
    "pictures": ("comparison.png", "ablation.png"),
    "summary": ("summary.md",),
    "page": ("report.html",),
    "weights": ("export",),
    "figures": ("metrics.json", "metrics.csv"),
}


def table(folders: dict[str, Path]) -> list[str]:
    """Returns one line for each part: name, status, seconds, reason."""
    width = max(map(len, folders), default=0)
    lines = []
    for name, folder in folders.items():
        status = read_status(folder)
        state = status.get("status") or "not begun"
        why = f"  {status['reason']}" if status.get("reason") else ""
        lines.append(f"{name:{width}}  {state:9}  {status.get('seconds', 0.0):7.0f} s{why}")
    return lines


def closing_lines(output_dir: Path) -> list[str]:
    """Returns where things lie; the last line is the folder itself."""
    lines = []
    for name, files in _FILES.items():
        if there := [file for file in files if (output_dir / file).exists()]:
            lines.append(f"{name:9}{', '.join(there)}")
    if stage1 := stage1_folders(output_dir):
        lines.append(f"{'stage 1':9}{', '.join(map(str, stage1))}")
    if command := sync_command(output_dir, nested=True):
        lines.append(f"W&B was offline; to upload: {command}")
    return [*lines, str(output_dir)]
