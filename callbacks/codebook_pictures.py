"""Pictures that tell whether stage 1 has converged, at every validation."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.codebook_charts import (
    convergence_chart,
    entries_sheet,
    similarity_chart,
    usage_chart,
)
from callbacks.image_grid import save_picture
from callbacks.values import current_step

if TYPE_CHECKING:
    from callbacks.wandb_run import WandbRun


class CodebookPictures(Callback):
    """Draws ``pl_module.codebook_report`` into ``codebook/`` and the curves into ``codebook.png``.

    ``codebook/<picture>-<step>.png``: for each dictionary ``hq_usage`` (how many tokens chose each
    entry) and ``hq_entries`` (the most used 64 entries, each decoded alone; ours, O), of the
    association also ``similarity``. ``codebook.png`` holds the curves of ``metrics.csv``, so this
    callback stands behind :class:`callbacks.RunLog`. W&B gets the same pictures under
    ``codebook/``. A module without a report is left alone. Rank zero only.
    """

    def __init__(self, run_dir: str | Path, wandb_run: "WandbRun | None" = None) -> None:
        self.run_dir = Path(run_dir)
        self.wandb_run = wandb_run

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        report = getattr(pl_module, "codebook_report", None)
        if trainer.sanity_checking or not trainer.is_global_zero or not report:
            return
        step = current_step(pl_module)
        for name, picture in self._draw(report, pl_module.validation_metrics):
            save_picture(self.run_dir / "codebook" / f"{name}-{step:06d}.png", picture)
            self._log(name, picture, step)
        curves = convergence_chart(self.run_dir / "metrics.csv")
        if curves is not None:
            save_picture(self.run_dir / "codebook.png", curves)
            self._log("curves", curves, step)

    def _draw(self, report: dict, figures: dict[str, float]) -> Iterator[tuple[str, np.ndarray]]:
        for domain, tensor in report["counts"].items():
            counts = tensor.numpy()
            yield f"{domain}_usage", usage_chart(domain, counts)
            yield f"{domain}_entries", entries_sheet(counts, report["entries"][domain])
        if report["similarity"] is not None:
            yield "similarity", similarity_chart(report["similarity"].numpy(), figures)

    def _log(self, name: str, picture: np.ndarray, step: int) -> None:
        if self.wandb_run is not None:
            self.wandb_run.log_image(f"codebook/{name}", picture, step)
