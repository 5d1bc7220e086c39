"""The temporary folder: what is written there, and how it is emptied."""

import os
import time
import uuid
from pathlib import Path

import numpy as np
from PIL import Image


def save_png(folder: Path, name: str, rgb: np.ndarray) -> Path:
    """Writes (H, W, 3) uint8 as PNG, without metadata, to a path that cannot be guessed."""
    path = _place(folder, name)
    Image.fromarray(rgb).save(path, format="PNG", compress_level=1)
    return path


def save_upload(folder: Path, name: str, data: bytes) -> Path:
    """Writes a file's bytes likewise."""
    path = _place(folder, name)
    path.write_bytes(data)
    return path


def _place(folder: Path, name: str) -> Path:
    inside = folder / uuid.uuid4().hex
    inside.mkdir(parents=True)
    return inside / name


def sweep(folder: Path, seconds: float) -> int:
    """Deletes what has lain in a folder for longer than ``seconds``; returns how many files.

    Gradio's own ``delete_cache`` knows of finished uploads alone: one that was cut off stays.
    """
    deleted, oldest = 0, time.time() - seconds
    for root, folders, names in os.walk(folder, topdown=False):
        for name in names + [name for name in folders if Path(root, name).is_symlink()]:
            path = Path(root, name)
            # A visitor's second event may be deleting or renaming it just now.
            try:
                if path.lstat().st_ctime < oldest:
                    path.unlink()
                    deleted += 1
            except FileNotFoundError:
                continue
        _remove_if_empty(Path(root), folder, oldest)
    return deleted


def _remove_if_empty(path: Path, folder: Path, oldest: float) -> None:
    try:
        # Not a new one: somebody is about to write into it.
        if path != folder and path.lstat().st_ctime < oldest and not any(path.iterdir()):
            path.rmdir()
    except OSError:
        return
