"""``metrics.csv`` in the run folder: every logged figure, with or without W&B."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.run_table import RunTable
from callbacks.values import EverySteps, current_step, training_values, validation_values

_SPENT = ("throughput/images_seen", "throughput/training_seconds")


class RunLog(Callback):
    """Writes training figures every ``every_n_steps`` generator steps and each validation's.

    The file is ``run_dir/metrics.csv``: columns ``step`` (generator steps), ``seconds`` (wall
    time of training over all resumes), then the modules' keys, validation under ``val/``, with the
    images and seconds spent until then. Step 1 and the last step are always there. Rank zero only.
    """

    def __init__(self, run_dir: str | Path, every_n_steps: int = 50) -> None:
        self.path = Path(run_dir) / "metrics.csv"
        self.steps = EverySteps(every_n_steps, first=True)
        self.table: RunTable | None = None
        self._start = 0.0
        self._logged_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = current_step(pl_module)
        self.steps.start(step)
        self._logged_step = step
        if trainer.is_global_zero:
            self.table = RunTable(self.path, step)
            self._start = time.monotonic() - self.table.seconds

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.steps.due(current_step(pl_module)):
            self._add(pl_module, training_values(pl_module))
            self._logged_step = current_step(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and (figures := validation_values(pl_module)):
            # What was spent until now: the last row of training may lie some steps back.
            trained = training_values(pl_module)
            spent = {key: trained[key] for key in _SPENT if key in trained}
            self._add(pl_module, figures | spent)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if current_step(pl_module) != self._logged_step:
            self._add(pl_module, training_values(pl_module))

    def _add(self, pl_module: LightningModule, values: dict[str, float]) -> None:
        if self.table is not None and values:
            seconds = time.monotonic() - self._start
            self.table.add(current_step(pl_module), seconds, values)
