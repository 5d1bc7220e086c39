"""``status.json`` of a run folder: what the run is doing, for people and for the gathering."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.values import current_step
from osdface.run_folder import interruption, one_line, read_status, write_status


class StatusFile(Callback):
    """Keeps ``status.json`` at ``running`` with step and seconds, and at ``failed`` on an error.

    It does not write ``finished``: a run has finished once its metrics and its export are on
    disk too, which the experiment's code knows and writes with ``update_status``.
    """

    def __init__(
        self, run_dir: str | Path, every_seconds: float = 5.0, wandb_run: Any = None
    ) -> None:
        """``wandb_run``: a ``WandbRun``, whose ``run_id`` is written, or None."""
        self.run_dir = Path(run_dir)
        self.every_seconds = every_seconds
        self.wandb_run = wandb_run
        self._before = 0.0
        self._start: float | None = None
        self._written = float("-inf")

    @property
    def seconds(self) -> float:
        """Wall seconds of training, those before a resume included."""
        return self._before + (time.monotonic() - self._start if self._start is not None else 0.0)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        resumed = current_step(pl_module) > 0
        self._before = float(read_status(self.run_dir).get("seconds", 0.0)) if resumed else 0.0
        self._start = time.monotonic()
        self._write(trainer, pl_module, "running")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if time.monotonic() - self._written >= self.every_seconds:
            self._write(trainer, pl_module, "running")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "running")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        status, reason = "failed", one_line(exception)
        if not isinstance(exception, Exception):  # Ctrl-C or a signal: the next start goes on
            status, reason = "running", interruption(exception)
        with suppress(OSError):  # on a full disk it would hide the error itself
            self._write(trainer, pl_module, status, reason)

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, status: str, reason: str | None = None
    ) -> None:
        if not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        run_id = getattr(self.wandb_run, "run_id", None)
        step = int(getattr(pl_module, "generator_step", 0))
        warnings = getattr(pl_module, "warnings", ())
        write_status(self.run_dir, status, reason, step, self.seconds, run_id, warnings)
