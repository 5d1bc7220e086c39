"""The comparison's command: from words to tables and pictures in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli.folders import CONFIG, new_folder
from experiments.comparing.collecting import find_runs, without_repetitions
from experiments.comparing.differences import Group, groups
from osdface.errors import UserError
from osdface.files import write_text
from osdface.run_folder import STATUS

OUTPUTS = Path("outputs") / "compare"
TABLE, SUMMARY, RUNS = "compare.csv", "compare.md", "runs.csv"
BARS, CURVES, FACES = "figures.png", "curves.png", "faces.png"


def work(values: dict[str, Any]) -> list[str]:
    """Writes the comparison; returns the lines to print.

    Raises:
        UserError: There are no such runs, or the folder holds something else.
    """
    if values["faces"] < 1:
        raise UserError(f"faces={values['faces']} is wrong: faces must be at least 1.")
    runs, left_out = without_repetitions(find_runs(values["group"], values["root"], values["runs"]))
    found, keys = groups(runs)
    output_dir = _folder(values)
    title = f"Comparison of {values['group'] or 'runs'}"
    lines = write(output_dir, title, found, keys, left_out, values["faces"])
    if values["wandb"]:
        from experiments.comparing.uploading import log  # only now: W&B takes seconds

        lines.append(log(output_dir, found, values["project"], values["group"]))
    return [*lines, str(output_dir)]


def _folder(values: dict[str, Any]) -> Path:
    if values["output_dir"]:
        folder = Path(values["output_dir"]).absolute()
    elif values["group"]:
        folder = (OUTPUTS / values["group"].replace("/", "_")).absolute()
    else:
        folder = new_folder(OUTPUTS.absolute())
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir={folder} is a file, not a folder.")
    if any((folder / name).exists() for name in (CONFIG, STATUS, "sweep.json")):
        raise UserError(f"output_dir={folder} is a run's own folder: take another.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return folder


def write(
    folder: Path,
    title: str,
    found: Sequence[Group],
    keys: Sequence[str],
    left_out: Sequence[str],
    faces: int,
) -> list[str]:
    """Writes tables and pictures; returns what they are, and every warning."""
    # Only now: these import torch.
    from experiments.comparing.comparability import same_references, warnings
    from experiments.comparing.curves import MAX_LINES, band_chart
    from experiments.comparing.pictures import face_grid
    from experiments.comparing.tables import (
        compare_csv,
        compare_markdown,
        reference_rows,
        runs_csv,
    )
    from experiments.reporting.charts import ablation_chart

    references = reference_rows(found, same_references(found))
    for name in (BARS, CURVES, FACES):  # of an earlier comparison, which had other runs
        (folder / name).unlink(missing_ok=True)
    if any(group.row.finished for group in found):
        ablation_chart(folder / BARS, [group.row for group in found], references)
    band_chart(folder / CURVES, found)
    minded = warnings(found)
    notes = [*left_out, *face_grid(folder / FACES, found, faces)]
    if len(found) > MAX_LINES:
        notes.append(f"The curves show the first {MAX_LINES} of {len(found)} groups.")
    pictures = [name for name in (BARS, CURVES, FACES) if (folder / name).is_file()]
    write_text(folder / TABLE, compare_csv(found, references))
    write_text(folder / RUNS, runs_csv(found, keys))
    page = compare_markdown(title, found, keys, references, minded, notes, pictures)
    write_text(folder / SUMMARY, page)
    lines = [f"mind     {sentence}" for sentence in minded]
    lines += [f"note     {sentence}" for sentence in notes]
    lines.append(f"tables   {SUMMARY}, {TABLE}, {RUNS}")
    return [*lines, *([f"pictures {', '.join(pictures)}"] if pictures else [])]
