"""Checkpoints by generator steps: the last and the best, always whole on disk."""

import difflib
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed

from callbacks.checkpoint_files import LAST, WholeFileIO, look_for_last, set_aside
from callbacks.values import EverySteps, current_step
from osdface.errors import UserError, disk_sentence
from osdface.files import write_json


def find_last(run_dir: str | Path) -> Path | None:
    """Returns the checkpoint to resume a run folder from, None if there is none.

    Raises:
        UserError: There are checkpoints, and none of them is whole.
    """
    return look_for_last(Path(run_dir) / "checkpoints").path


class StepCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` every N generator steps and ``best.ckpt`` by a metric.

    The ``last.ckpt`` before stays as ``last-previous.ckpt``, to fall back to when the disk damages
    the newer one. ``best.json`` holds ``{"metric", "value", "step"}``. Every file is written under
    a temporary name, flushed to disk, checked and renamed. All ranks take part in saving; rank zero
    writes. Lightning calls checkpoint callbacks last, so the figures of the step are there.
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
        self._damaged: list[Path] = []

    def find_last(self) -> Path | None:
        """Returns the checkpoint to resume from, None for none; says when it is not the last one.

        Every rank looks for itself, so nothing is changed yet: a damaged file gets another name
        when all have read theirs.

        Raises:
            UserError: There are checkpoints, and none of them is whole.
        """
        found = look_for_last(self.folder)
        self._damaged = list(found.damaged)
        for path, reason in found.damaged.items():
            if getattr(rank_zero_only, "rank", 0) == 0:
                print(
                    f"warning: {path} is damaged ({reason}) and is kept under another name: going "
                    f"on from {found.path and found.path.name}, saved before it.",
                    flush=True,
                )
        return found.path

    def clear_damaged(self, trainer: Trainer) -> None:
        """Renames what :meth:`find_last` found damaged; all ranks have read their checkpoint."""
        for path in self._damaged:
            if trainer.is_global_zero and path.exists():
                set_aside(path)
        self._damaged = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            trainer.strategy.checkpoint_io = WholeFileIO()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = current_step(pl_module)
        self.steps.start(step)
        if trainer.world_size > 1:
            _check_same_step(trainer, step)
        self.clear_damaged(trainer)
        if trainer.is_global_zero and self.folder.is_dir():
            for leftover in self.folder.glob(".*.ckpt"):
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
        """Replaces ``last.ckpt``; the former one becomes ``last-previous.ckpt``."""
        self._save(trainer, self.folder / LAST)

    def _save(self, trainer: Trainer, path: Path) -> None:
        """Saves on all ranks, and ends all of them alike if the disk fails the first one.

        Raises:
            UserError: On rank zero; SystemExit on the others, which have nothing to add.
        """
        trainer.save_checkpoint(path, weights_only=False)
        error = getattr(trainer.strategy.checkpoint_io, "error", None)
        told = disk_sentence(error, path) if error is not None else None
        told = trainer.strategy.broadcast(told)
        if told is not None and trainer.is_global_zero:
            raise UserError(told) from error
        if told is not None:
            raise SystemExit(0)  # any other status and srun would kill rank zero in its last words

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


def _check_same_step(trainer: Trainer, step: int) -> None:
    """Raises on all ranks if they resumed different checkpoints, as with a stale file server."""
    ends = torch.tensor([step, -step], device=trainer.strategy.root_device)
    distributed.all_reduce(ends, op=distributed.ReduceOp.MAX)
    last, first = int(ends[0]), -int(ends[1])
    if first != last:
        raise UserError(
            f"The processes resumed at different steps, {first} to {last}: they do not see the "
            "same folder checkpoints; wait until the file server shows it alike, and start again."
        )
