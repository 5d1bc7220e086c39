"""Pictures to look at while training: LQ | restored | HQ at every validation."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from callbacks.drawing import MINIMUM_CELL, draw_grid, to_uint8
from callbacks.values import current_step
from osdface.files import atomic_path

if TYPE_CHECKING:
    from callbacks.wandb_run import WandbRun

LABELS = {"lq": "LQ", "restored": "restored", "hq": "HQ"}


def column_order(name: str) -> int:
    """Sorts the degraded input first and the ground truth last."""
    return {"lq": 0, "hq": 2}.get(name, 1)


def sample_file_name(key: str) -> str:
    """Returns the file name of a sample: its key with what a file system dislikes replaced."""
    return re.sub(r"[^\w.\-]+", "_", key).lstrip(".") + ".png"


def save_picture(path: str | Path, image: np.ndarray) -> None:
    """Writes an (H, W, 3) byte image as PNG, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)


class ImageGrid(Callback):
    """Draws ``pl_module.sample_images``, one face a row, as ``images/step-000123.png``.

    At the end of training each picture of ``samples_of`` is also saved in its own size as
    ``samples/<key>.png``. A module without sample images is left alone. Rank zero only.
    """

    def __init__(
        self,
        run_dir: str | Path,
        wandb_run: "WandbRun | None" = None,
        max_rows: int = 8,
        minimum_cell: int = MINIMUM_CELL,
        samples_of: str = "restored",
    ) -> None:
        """``minimum_cell``: smaller pictures are scaled up to this many pixels."""
        self.run_dir = Path(run_dir)
        self.wandb_run = wandb_run
        self.max_rows = max_rows
        self.minimum_cell = minimum_cell
        self.samples_of = samples_of

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        images = getattr(pl_module, "sample_images", None)
        if trainer.sanity_checking or not trainer.is_global_zero or not images:
            return
        step = current_step(pl_module)
        grid = self.draw(images)
        save_picture(self.run_dir / "images" / f"step-{step:06d}.png", grid)
        if self.wandb_run is not None:
            self.wandb_run.log_image("images/grid", grid, step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.save_samples(pl_module)

    def draw(self, images: dict[str, torch.Tensor]) -> np.ndarray:
        """Returns the grid of name -> (N, 3, H, W) in [-1, 1] as bytes (H', W', 3)."""
        columns = []
        for name in sorted(images, key=column_order):
            label = LABELS.get(name, name.replace("_", " "))
            columns.append((label, list(to_uint8(images[name][: self.max_rows]))))
        return draw_grid(columns, minimum_cell=self.minimum_cell)

    def save_samples(self, pl_module: LightningModule) -> list[Path]:
        """Saves ``samples/<key>.png`` and returns the paths."""
        images = (getattr(pl_module, "sample_images", None) or {}).get(self.samples_of)
        keys = getattr(pl_module, "sample_keys", None)
        if images is None or not keys:
            return []
        paths = []
        for key, image in zip(keys, to_uint8(images), strict=False):
            paths.append(self.run_dir / "samples" / sample_file_name(key))
            save_picture(paths[-1], image)
        return paths
