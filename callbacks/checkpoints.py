"""Checkpoints by generator steps: the last and the best, always whole on disk."""

import difflib
import math
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.values import EverySteps, current_step
from osdface.errors import UserError
from osdface.files import atomic_path, write_json


def is_whole(path: str | Path) -> bool:
    """Returns whether a checkpoint is complete: its zip directory stands at the end of the file."""
    return Path(path).is_file() and zipfile.is_zipfile(path)


def find_last(run_dir: str | Path) -> Path | None:
    """Returns the checkpoint to resume a run folder from, None if there is none.

    ``last-previous.ckpt`` is only there, and only taken, if a machine died while
    ``last.ckpt`` was replaced.
    """
    folder = Path(run_dir) / "checkpoints"
    candidates = (folder / "last.ckpt", folder / "last-previous.ckpt")
    return next((path for path in candidates if is_whole(path)), None)


def _keep(path: Path, copy: Path) -> None:
    """Gives ``path`` a second name, by a hard link where the file system has them."""
    if path.is_file():
        copy.unlink(missing_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copyfile(path, copy)


class StepCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` every N generator steps and ``best.ckpt`` by a metric.

    ``best.json`` beside it holds ``{"metric", "value", "step"}``. Every file is written under a
    temporary name, flushed to disk and renamed. All ranks take part in saving; rank zero writes.
    Lightning calls checkpoint callbacks last, so the figures of the step are there.
    """

    def __init__(
        self,
        run_dir: str | Path,
        every_n_steps: int = 500,
        metric: str | None = "perceptual",
        mode: str = "min",
    ) -> None:
        """``metric``: a key of ``pl_module.validation_metrics``, or None; ``mode``: min or max."""
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be min or max, got {mode!r}")
        self.folder = Path(run_dir) / "checkpoints"
        self.steps = EverySteps(every_n_steps)
        self.metric, self.mode = metric, mode
        self.best_value: float | None = None
        self.best_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.start(current_step(pl_module))
        if trainer.is_global_zero and self.folder.is_dir():
            for leftover in (*self.folder.glob(".last.*.ckpt"), *self.folder.glob(".best.*.ckpt")):
                leftover.unlink(missing_ok=True)  # of a process that was killed while writing

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.steps.due(current_step(pl_module)):
            self.save_last(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.metric is None or trainer.state.fn != TrainerFn.FITTING:
            return
        value = self._value(pl_module.validation_metrics)
        if trainer.sanity_checking:
            return
        # One rank decides, or a rounding difference would leave the others in a barrier.
        value = trainer.strategy.broadcast(value)
        if value is not None and self._improves(value):
            self.best_value = value
            self.best_step = current_step(pl_module)
            self._save(trainer, self.folder / "best.ckpt")
            if trainer.is_global_zero:
                best = {"metric": self.metric, "value": self.best_value, "step": self.best_step}
                write_json(self.folder / "best.json", best)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Also if this step was saved before: its validation may have changed the best value.
        self.save_last(trainer, pl_module)

    def save_last(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replaces ``last.ckpt``; the former one stays as ``last-previous.ckpt`` meanwhile."""
        last, previous = self.folder / "last.ckpt", self.folder / "last-previous.ckpt"
        if trainer.is_global_zero:
            _keep(last, previous)
        self._save(trainer, last)
        if trainer.is_global_zero and is_whole(last):
            previous.unlink(missing_ok=True)

    def _save(self, trainer: Trainer, path: Path) -> None:
        if trainer.is_global_zero:
            with atomic_path(path) as temporary:
                trainer.save_checkpoint(temporary, weights_only=False)
        else:
            trainer.save_checkpoint(
                path, weights_only=False
            )  # takes part in gathering and barriers, writes nothing

    def _value(self, figures: Any) -> float | None:
        if figures and self.metric not in figures:
            near = difflib.get_close_matches(str(self.metric), figures, n=3, cutoff=0.0)
            raise UserError(
                f"The best checkpoint is chosen by {self.metric!r}, which validation does not "
                f"measure; nearest names: {', '.join(near)}."
            )
        return float(figures[self.metric]) if figures else None

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best_value is None:
            return True
        return value < self.best_value if self.mode == "min" else value > self.best_value

    def state_dict(self) -> dict[str, Any]:
        # Plain numbers: the file must load with torch.load(weights_only=True).
        return {"metric": self.metric, "best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("metric") == self.metric:
            self.best_value = state_dict["best_value"]
            self.best_step = int(state_dict["best_step"])
