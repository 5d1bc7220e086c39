"""``status.json`` of a run folder: what the run is doing, for people and for the gathering."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.values import current_step
from osdface.files import read_json, write_json


def one_line(error: BaseException) -> str:
    """Returns an exception as one line: the type's name and the first line of its message."""
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def read_status(run_dir: str | Path) -> dict[str, Any]:
    """Reads ``status.json``; a missing or broken file gives an empty dict."""
    try:
        status = read_json(Path(run_dir) / "status.json")
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def write_status(
    run_dir: str | Path,
    status: str,
    reason: str | None = None,
    step: int = 0,
    seconds: float = 0.0,
    wandb_run: str | None = None,
) -> None:
    """Writes ``status.json`` atomically.

    ``status``: ``running``, ``finished`` or ``failed``; ``reason``: one line, of a failure;
    ``step``: generator steps done; ``seconds``: wall time over all resumes; ``wandb_run``: the
    W&B run's id or address.
    """
    value = {
        "status": status,
        "reason": reason,
        "step": int(step),
        "seconds": round(float(seconds), 2),
        "wandb_run": wandb_run,
    }
    write_json(Path(run_dir) / "status.json", value)


class StatusFile(Callback):
    """Keeps ``status.json`` at ``running`` with step and seconds, and at ``failed`` on an error.

    It does not write ``finished``: a run has finished once its metrics and its export are on
    disk too, which the experiment's code knows and writes with ``write_status``.
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
        if isinstance(exception, Exception):
            self._write(trainer, pl_module, "failed", one_line(exception))
        else:  # Ctrl-C or a signal: the next start goes on
            reason = f"interrupted ({type(exception).__name__})"
            self._write(trainer, pl_module, "running", reason)

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, status: str, reason: str | None = None
    ) -> None:
        if not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        run_id = getattr(self.wandb_run, "run_id", None)
        step = int(getattr(pl_module, "generator_step", 0))
        write_status(self.run_dir, status, reason, step, self.seconds, run_id)
