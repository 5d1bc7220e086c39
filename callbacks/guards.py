"""``guards.jsonl`` in the run folder: skipped steps with their batches, and a discriminator off."""

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.values import current_step
from osdface.files import append_text

ACCURACY, MEAN = "discriminator/accuracy", "discriminator/accuracy_mean"
_ADVICE = {
    "strong": "it tells nearly everything apart, so the generator learns little from it: lower "
    "its learning rate, or give it less weight",
    "dead": "it hardly tells anything apart, which is so with a perfect generator or a "
    "discriminator that does not learn: look at the pictures, raise its learning rate",
}


@dataclass(frozen=True)
class AccuracyBounds:
    """When a discriminator is too strong or dead, by the running mean of its accuracy.

    Attributes:
        window: Generator steps of the mean; nothing is said before it is full. 0: never.
        strong: Mean in [0, 1] from which on it is too strong.
        dead: Mean down to which it is dead; guessing has 0.5.
    """

    window: int = 200
    strong: float = 0.98
    dead: float = 0.52


class GuardLog(Callback):
    """Writes one JSON a line to ``run_dir/guards.jsonl``; without anything wrong there is no file.

    ``{"kind": "skipped", "step", "network", "loss", "gradient_norm", "in_a_row", "keys"}`` for each
    skipped update: every rank has its own batches, so rank n > 0 writes ``guards.rank<n>.jsonl``.
    ``{"kind": "discriminator_strong" | "discriminator_dead", "step", "accuracy", "message"}``, once
    each, on rank zero, which also prints it, puts it into the status (``pl_module.warnings``) and
    the W&B summary. Put it before the logs, which see the running mean that it adds.
    """

    def __init__(
        self, run_dir: str | Path, bounds: AccuracyBounds | None = None, wandb_run: Any = None
    ) -> None:
        self.run_dir = Path(run_dir)
        self.bounds = bounds if bounds is not None and bounds.window > 0 else None
        self.wandb_run = wandb_run
        self.history: deque[float] = deque(maxlen=self.bounds.window if self.bounds else 1)
        self.told: dict[str, str] = {}
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = current_step(pl_module)
        self._publish(pl_module)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._write_skipped(trainer, pl_module)
        logged: Any = pl_module.logged
        step = current_step(pl_module)
        if self.bounds is None or step == self._step or ACCURACY not in logged:
            return
        self._step = step
        self.history.append(float(logged[ACCURACY]))
        mean = sum(self.history) / len(self.history)
        logged[MEAN] = mean
        if len(self.history) < self.bounds.window:
            return
        kind = "strong" if mean >= self.bounds.strong else "dead"
        if (kind == "strong" or mean <= self.bounds.dead) and kind not in self.told:
            self._warn(trainer, pl_module, kind, step, mean)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        # The skip that ends the training is raised in the middle of its batch.
        self._write_skipped(trainer, pl_module)

    def _warn(
        self, trainer: Trainer, pl_module: LightningModule, kind: str, step: int, mean: float
    ) -> None:
        message = (
            f"Step {step}: the discriminator's accuracy was {mean:.3f} on average over "
            f"{len(self.history)} steps: {_ADVICE[kind]}."
        )
        self.told[kind] = message
        self._publish(pl_module)
        if trainer.is_global_zero:
            record = {"kind": f"discriminator_{kind}", "step": step, "accuracy": mean}
            self._append(0, [record | {"message": message}])
            print(f"warning: {message}", flush=True)

    def _publish(self, pl_module: LightningModule) -> None:
        warnings: Any = getattr(pl_module, "warnings", None)
        if warnings is not None:
            warnings[:] = self.told.values()
        if self.wandb_run is not None and self.told:
            self.wandb_run.summarize({f"warning/{k}": text for k, text in self.told.items()})

    def _write_skipped(self, trainer: Trainer, pl_module: LightningModule) -> None:
        records: Any = getattr(pl_module, "guard_records", None)
        if records:
            self._append(trainer.global_rank, records)
            records.clear()

    def _append(self, rank: int, records: list[dict[str, Any]]) -> None:
        name = f"guards.rank{rank}.jsonl" if rank else "guards.jsonl"
        self.run_dir.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        append_text(self.run_dir / name, "".join(lines))

    def state_dict(self) -> dict[str, Any]:
        return {"history": list(self.history), "told": dict(self.told)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history.extend(state_dict["history"])
        self.told = dict(state_dict["told"])
