"""Ends a training at a signal: at the end of a step, on all ranks together, with a checkpoint."""

from typing import Any, NoReturn, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import distributed

from callbacks.checkpoints import StepCheckpoint
from callbacks.values import current_step

VALIDATION_DUE = "validation_due"
_VALIDATION = "epoch_loop.val_loop.batch_progress"


class Signals(Protocol):
    """What notes signals; see ``experiments.cli.signals``."""

    @property
    def level(self) -> int:
        """0, or a number that says which signal was noted; the largest of all ranks counts."""

    def install(self) -> None:
        """Puts the handlers in place of those of Lightning."""

    def leave(self, level: int) -> NoReturn:
        """Raises what ends the process."""


class Preemption(Callback):
    """Saves ``last.ckpt`` and leaves once a signal was noted on any rank.

    The ranks agree at the end of every generator step, never between its micro-batches, whose
    gradients no checkpoint holds; and after every validation batch that all of them have, since a
    validation can be longer than the time that is left. They do so by one number, which is small
    beside a step, and only where there are several.

    A checkpoint that was taken at a step whose validation is not finished says so: the resumed
    run begins with that validation. Lightning alone would leave it out.

    Has to stand after the callbacks whose state belongs into the checkpoint.
    """

    def __init__(self, signals: Signals, checkpoint: StepCheckpoint, val_every: int) -> None:
        """``val_every``: generator steps between validations."""
        self.signals, self.checkpoint, self.val_every = signals, checkpoint, val_every
        self._step = self._validated = -1
        self._shared_batches = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.install()
        self._step = current_step(pl_module)
        if level := self._agreed(trainer):
            self.signals.leave(level)  # nothing was trained since the checkpoint

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if current_step(pl_module) != self._step:
            self._step = current_step(pl_module)
            self._look(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.install()
        batches = float(sum(trainer.num_val_batches))
        self._shared_batches = int(_over_ranks(batches, distributed.ReduceOp.MIN, trainer))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx < self._shared_batches:
            self._look(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = current_step(pl_module)
        if trainer.state.fn == TrainerFn.FITTING and _is_spent(pl_module):
            trainer.should_stop = True  # resumed for this validation alone

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        step = current_step(pl_module)
        due = step % self.val_every == 0 or _is_spent(pl_module)
        checkpoint[VALIDATION_DUE] = due and self._validated != step
        if checkpoint[VALIDATION_DUE]:
            # What Lightning finds after a stop in the middle of a validation's first batch.
            progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
            done = progress["total"]["completed"]
            for name, count in (("total", done), ("current", 0)):
                progress[name].update(
                    ready=count + 1, started=count + 1, processed=count, completed=count
                )

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        level = self._agreed(trainer)
        if not level:
            return
        if trainer.state.fn == TrainerFn.FITTING:
            self.checkpoint.save_last(trainer, pl_module)
            if trainer.is_global_zero:
                print(f"A signal came: saved at step {current_step(pl_module)}.", flush=True)
        self.signals.leave(level)

    def _agreed(self, trainer: Trainer) -> int:
        return int(_over_ranks(self.signals.level, distributed.ReduceOp.MAX, trainer))


def _is_spent(pl_module: LightningModule) -> bool:
    """Whether all steps, or all seconds where time is counted, are done."""
    return bool(pl_module.progress >= 1)


def _over_ranks(value: float, operation: Any, trainer: Trainer) -> float:
    if trainer.world_size == 1:
        return value
    shared = torch.tensor(float(value), device=trainer.strategy.root_device)
    distributed.all_reduce(shared, op=operation)
    return float(shared)
