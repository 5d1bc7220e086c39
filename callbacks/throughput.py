"""How fast training is, and how much of it is waiting for data."""

import statistics
import time
from collections import deque
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.values import current_step


def count_images(batch: Any) -> int:
    """Returns the batch size: the first dimension of ``batch["hq"]`` or of the first tensor."""
    if isinstance(batch, torch.Tensor):
        return batch.shape[0] if batch.ndim else 1
    if isinstance(batch, dict):
        values = [batch["hq"]] if "hq" in batch else list(batch.values())
    elif isinstance(batch, (list, tuple)):
        values = list(batch)
    else:
        return 0
    return next((count for value in values if (count := count_images(value))), 0)


class Throughput(Callback):
    """Adds speed figures to ``pl_module.logged`` after every generator step.

    ``throughput/step_seconds``: median over the window, data waiting included;
    ``throughput/images_per_second``: over all ranks, by that median;
    ``throughput/data_wait_share``: share of the window's time between steps, in [0, 1], which is
    waiting for batches but for the milliseconds that logs take. Validation and checkpoint
    writing are left out. Put it before the logs in the list
    of callbacks, which see what it adds.
    """

    def __init__(self, window: int = 50) -> None:
        """``window``: number of generator steps looked back on."""
        self.history: deque[tuple[float, float, int]] = deque(maxlen=window)
        self._reset()

    def _reset(self) -> None:
        self._end: float | None = None
        self._begin: float | None = None
        self._step = 0
        # seconds, seconds waited and images since the last generator step
        self._pending = (0.0, 0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.history.clear()
        self._reset()
        self._step = current_step(pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._begin = time.perf_counter()
        wait = self._begin - self._end if self._end is not None else 0.0
        seconds, waited, images = self._pending
        self._pending = (seconds + wait, waited + wait, images)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._end = time.perf_counter()
        if self._begin is None:
            return
        seconds, waited, images = self._pending
        seconds += self._end - self._begin
        self._pending = (seconds, waited, images + count_images(batch) * trainer.world_size)
        if current_step(pl_module) == self._step:
            return  # gradient accumulation: the step is not complete yet
        self._step = current_step(pl_module)
        self.history.append(self._pending)
        self._pending = (0.0, 0.0, 0)
        logged: Any = pl_module.logged
        logged.update(self.figures())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Other callbacks still write pictures after this, hence no clock from here on either.
        self._end = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._end = None

    def figures(self) -> dict[str, float]:
        """Returns the three figures over the window; an empty window has none."""
        if not self.history:
            return {}
        step_seconds = max(statistics.median(seconds for seconds, _, _ in self.history), 1e-9)
        images = statistics.fmean(images for _, _, images in self.history)
        total = max(sum(seconds for seconds, _, _ in self.history), 1e-9)
        return {
            "throughput/step_seconds": step_seconds,
            "throughput/images_per_second": images / step_seconds,
            "throughput/data_wait_share": sum(waited for _, waited, _ in self.history) / total,
        }
