"""``faces.png``: the same held-out faces as every group restored them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from callbacks.drawing import draw_grid
from callbacks.image_grid import save_picture
from experiments.comparing.comparability import picture_sums
from experiments.comparing.differences import Group
from experiments.reporting.grids import keys_below, read_picture

MAX_COLUMNS = 16
Column = tuple[str, Sequence[np.ndarray | None]]


def shared_keys(groups: Sequence[Group]) -> list[str]:
    """Returns the keys of the faces whose ground truth is the same picture in every group."""
    sums = [picture_sums(group.runs[0], "hq") for group in groups]
    if not sums:
        return []
    return [key for key in sums[0] if all(each.get(key) == sums[0][key] for each in sums)]


def samples_of(group: Group) -> Path | None:
    """Returns the restored faces of a group's first finished run, None where there are none."""
    folders = (each.folder / "samples" for each in group.runs if each.run.finished)
    return next((folder for folder in folders if keys_below(folder)), None)


def face_grid(path: Path, groups: Sequence[Group], faces: int) -> list[str]:
    """Draws a row a face: LQ, every group, HQ; returns sentences on what could not be shown.

    Where the groups degraded the same faces differently, each one's input stands before it.
    """
    with_pictures = [group for group in groups if group.runs[0].references is not None]
    shown = [group for group in with_pictures if samples_of(group)]
    if not shown:
        return ["There is no picture grid: no run has left restored faces."]
    keys = shared_keys(shown)[:faces]
    if not keys:
        return ["There is no picture grid: the runs hold out different pictures."]
    columns, alike = _columns(shown[:MAX_COLUMNS], keys)
    save_picture(path, draw_grid(columns, row_labels=keys))
    notes = []
    if not alike:
        notes.append("The inputs are degraded differently: each group's own stands before it.")
    if len(shown) > MAX_COLUMNS:
        notes.append(f"The picture grid shows the first {MAX_COLUMNS} of {len(shown)} groups.")
    if missing := [group.label for group in groups if group not in shown]:
        notes.append(f"Without pictures: {', '.join(missing)}.")
    return notes


def _columns(groups: Sequence[Group], keys: Sequence[str]) -> tuple[list[Column], bool]:
    sums = [picture_sums(group.runs[0], "lq") for group in groups]
    alike = all(each.get(key) == sums[0].get(key) for each in sums for key in keys)
    columns = [] if not alike else [("LQ", _inputs(groups[0], "lq", keys))]
    for group in groups:
        if not alike:
            columns.append((f"LQ of {group.label}", _inputs(group, "lq", keys)))
        folder = samples_of(group)
        assert folder is not None
        columns.append((group.label, [read_picture(folder / f"{key}.png") for key in keys]))
    return [*columns, ("HQ", _inputs(groups[0], "hq", keys))], alike


def _inputs(group: Group, domain: str, keys: Sequence[str]) -> list[np.ndarray | None]:
    place = group.runs[0].references
    assert place is not None
    return [read_picture(place / "references/samples" / domain / f"{key}.png") for key in keys]
