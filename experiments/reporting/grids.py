"""``comparison.png``: a row a face, columns LQ, each variant, HQ."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from callbacks.drawing import draw_grid
from callbacks.image_grid import save_picture
from experiments.reporting.records import Row


def read_picture(path: Path) -> np.ndarray | None:
    """Reads a picture as (H, W, 3) bytes; a missing or broken file gives None."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError):
        return None


def keys_below(folder: Path) -> set[str]:
    """Returns the sample keys of a folder of ``<key>.png``."""
    return {path.stem for path in folder.glob("*.png") if not path.name.startswith(".")}


def sample_folder(row: Row) -> Path | None:
    """Returns the samples of a variant's first finished seed, else None."""
    folders = (run.folder / "samples" for run in row.finished)
    return next((folder for folder in folders if keys_below(folder)), None)


def comparison_grid(
    path: str | Path, output_dir: Path, variants: Sequence[Row], max_faces: int = 8
) -> bool:
    """Draws the comparison of up to ``max_faces`` faces; returns False if there are no pictures.

    Faces stand in the order of their keys. A picture that is missing, as all of a failed variant
    are, is an empty cell.
    """
    references = output_dir / "references" / "samples"
    folders = [(row.name, sample_folder(row)) for row in variants]
    keys = keys_below(references / "lq") | keys_below(references / "hq")
    if not keys:
        keys = set().union(*(keys_below(folder) for _, folder in folders if folder))
    chosen = sorted(keys)[:max_faces]
    if not chosen:
        return False
    columns = [("LQ", references / "lq"), *folders, ("HQ", references / "hq")]
    pictures = [
        (label, [read_picture(folder / f"{key}.png") if folder else None for key in chosen])
        for label, folder in columns
    ]
    save_picture(path, draw_grid(pictures, row_labels=chosen))
    return True
