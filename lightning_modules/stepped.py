"""What all modules share: an own step counter, manual optimization, clipping and schedules."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lightning_modules.clock import TrainingClock
from lightning_modules.finite import UpdateGuard, agreed
from lightning_modules.random_streams import part_streams, random_states, restore_random_state
from lightning_modules.ranks import average_batch_statistics
from lightning_modules.step_figures import StepFigures
from osdface.errors import UserError


@dataclass(frozen=True)
class StepSettings:
    """How long and how fast a module trains.

    Attributes:
        max_steps: Generator steps (updates of the main optimizer).
        learning_rate: Peak rate of the main optimizer.
        warmup_steps: Linear warm-up from 0.
        schedule: "constant" or "cosine" (to 1 % of the peak).
        clip: Largest gradient norm, 0 for none.
        accumulate: Micro-batches per step.
        max_skipped: Non-finite updates in a row of one optimizer after which training stops.
        weight_decay: Of AdamW.
        max_seconds: Seconds of training in place of ``max_steps``; 0 counts steps.
    """

    max_steps: int
    learning_rate: float
    warmup_steps: int = 0
    schedule: str = "constant"
    clip: float = 0.0
    accumulate: int = 1
    max_skipped: int = 10
    weight_decay: float = 0.01
    max_seconds: float = 0.0

    def progress(self, step: int, seconds: float = 0.0) -> float:
        """Returns which share of the budget, of steps or of seconds, is spent, in [0, 1]."""
        if self.max_seconds:
            return min(1.0, seconds / self.max_seconds)
        return min(1.0, step / max(1, self.max_steps))

    def is_spent(self, step: int, seconds: float = 0.0) -> bool:
        """Returns whether the budget, of steps or of seconds, is spent."""
        return seconds >= self.max_seconds if self.max_seconds else step >= self.max_steps

    def rate_factor(self, step: int, seconds: float = 0.0) -> float:
        """Returns the learning rate at ``step``, after ``seconds``, as a share of the peak."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return warm
        share = self.progress(step, seconds)
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def keyed_generator(seed: int, step: int, key: str) -> torch.Generator:
    """Returns a CPU generator that depends on nothing but (seed, step, sample key)."""
    digest = hashlib.blake2b(f"{seed}/{step}/{key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class SteppedModule(L.LightningModule):
    """A LightningModule that counts its own generator steps.

    Lightning's ``global_step`` counts every optimizer, so it must not be used with two.

    Attributes:
        generator_step: Finished updates of the main optimizer; in every checkpoint.
        skipped_steps: Steps of which an update was skipped because it was not finite.
        skipped_networks: Whose updates the last step skipped, such as "generator".
        skipped_now: Likewise of the step at hand, the same on all ranks.
        guard_records: What was skipped and not yet written down; a callback empties it.
        warnings: What callbacks found wrong with the run, for its status.
        figures: Collects what the micro-batches of the step at hand measure.
        logged: What the last training step measured, for the callbacks; losses over its whole
            global batch.
        clock: Seconds of training, kept in every checkpoint.
        images_seen: Training images on all ranks together, likewise.
        fingerprints: Hashes of frozen parts, such as base and VRE, kept and compared on loading.
        validation_metrics: What the last validation measured.
        sample_images: Pictures of the last validation, name -> (N, 3, H, W) in [-1, 1].
    """

    def __init__(self, settings: StepSettings) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False
        self.settings = settings
        self.generator_step = 0
        self.skipped_steps = 0
        self.skipped_networks: list[str] = []
        self.skipped_now: list[str] = []
        self.guard_records: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._guards: dict[str, UpdateGuard] = {}
        self._micro_batch = 0
        self.figures = StepFigures()
        self.logged: dict[str, float] = {}
        self.validation_metrics: dict[str, float] = {}
        self.sample_images: dict[str, Tensor] = {}
        self.sample_keys: list[str] = []
        self.config: dict[str, Any] = {}
        self.fingerprints: dict[str, str] = {}
        self.clock = TrainingClock()
        self.images_seen = 0

    @property
    def max_steps(self) -> int:
        """Generator steps after which training is finished; 0 where seconds are counted."""
        return 0 if self.settings.max_seconds else self.settings.max_steps

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return self.settings.progress(self.generator_step, self.clock.seconds)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Counts the images, and the time spent on waiting for data."""
        self.clock.tick()
        size = next((len(value) for value in batch.values() if isinstance(value, Tensor)), 0)
        self.images_seen += size * self.trainer.world_size

    def on_validation_start(self) -> None:
        """Stops the clock of training."""
        self.clock.pause()

    def on_validation_end(self) -> None:
        """Leaves out what callbacks write, too."""
        self.clock.pause()

    @property
    def completes_step(self) -> bool:
        """Whether the micro-batch at hand is the last one of a generator step."""
        return self._micro_batch == self.settings.accumulate - 1

    def update(self, optimizer: Any, loss: Tensor, name: str, keys: Sequence[str] = ()) -> None:
        """Back-propagates a micro-batch and, at the last one of a step, clips and updates.

        Of several processes each then has the gradient of the whole batch, and updates alike.
        A non-finite loss or gradient, on any rank, skips the update on all of them and is counted;
        after ``max_skipped`` in a row of one optimizer training stops.

        Args:
            optimizer: A Lightning optimizer.
            loss: Scalar of this micro-batch.
            name: Name of the updated network in the logs, such as "generator".
            keys: Keys of the batch, written down when its step is skipped.
        """
        self.manual_backward(loss / self.settings.accumulate)
        guard = self._guards.setdefault(name, UpdateGuard(name))
        guard.note(loss, keys)
        if not self.completes_step:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._average(parameters)
        limit = self.settings.clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        self.logged[f"gradient_norm/{name}"] = norm
        finite = agreed(guard.finite(norm), self.device)
        if finite:
            factor = self.settings.rate_factor(self.generator_step, self.clock.seconds)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            self.logged[f"learning_rate/{name}"] = optimizer.param_groups[0]["lr"]
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (record := guard.close(self.generator_step, norm, not finite)) is not None:
            self._skip(record)

    def _average(self, parameters: list[nn.Parameter]) -> None:
        # Other strategies have no such method: they average during the backward pass, or are alone.
        strategy = getattr(self.trainer, "strategy", None)
        average = getattr(strategy, "average_gradients", None)
        if average is not None:
            average(parameters)

    def _skip(self, record: dict[str, Any]) -> None:
        name, keys = record["network"], record["keys"]
        self.skipped_steps += not self.skipped_now
        self.skipped_now.append(name)
        self.guard_records.append(record)
        self.print(
            f"Step {self.generator_step}: non-finite loss or gradient of the {name}, update "
            f"skipped ({self.skipped_steps} steps so far); batch: {', '.join(keys)}"
        )
        if record["in_a_row"] >= self.settings.max_skipped:
            raise UserError(
                f"{record['in_a_row']} updates in a row of the {name} had non-finite losses or "
                f"gradients at step {self.generator_step}: lower the learning rate, look at the "
                "batches in guards.jsonl, or resume from an earlier checkpoint."
            )

    def finish_micro_batch(self) -> None:
        """Counts the micro-batch, and the generator step when it was the last one.

        Must be the last call of ``training_step``: callbacks save checkpoints right after it, so
        the data module has to know by now that this batch is finished, not merely fetched.
        """
        datamodule = getattr(self.trainer, "datamodule", None)
        if hasattr(datamodule, "batch_finished"):
            datamodule.batch_finished()
        self.logged["skipped_steps"] = float(self.skipped_steps)
        self._micro_batch = (self._micro_batch + 1) % self.settings.accumulate
        if self._micro_batch == 0:
            self.logged |= self.figures.close()
            self.skipped_networks, self.skipped_now = self.skipped_now, []
            self.generator_step += 1
            self.clock.tick()
            self.clock.settle(self.device if self.settings.max_seconds else None)
            self._log_spent()
            if self.settings.is_spent(self.generator_step, self.clock.seconds):
                self.trainer.should_stop = True

    def _log_spent(self) -> None:
        self.logged["throughput/training_seconds"] = self.clock.seconds
        self.logged["throughput/images_seen"] = float(self.images_seen)

    def on_train_start(self) -> None:
        """Gives each of several ranks a random stream of its own; a resume has restored it."""
        if self.generator_step == 0:
            part_streams()

    def on_validation_epoch_start(self) -> None:
        """Makes the running statistics of BatchNorm, if there are any, those of all ranks."""
        average_batch_statistics(self)

    def trainable_state(self) -> dict[str, Tensor]:
        """Returns the tensors that training changes: trainable parameters and their buffers."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def extra_state_keys(self) -> Iterable[str]:
        """Names buffers that must be in the checkpoint beside the trainable parameters."""
        return ()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what training changes and drops frozen weights."""
        kept = self.trainable_state().keys() | set(self.extra_state_keys())
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: state[key] for key in state if key in kept}
        checkpoint["generator_step"] = self.generator_step
        checkpoint["skipped_steps"] = self.skipped_steps
        checkpoint["training_seconds"] = self.clock.seconds
        checkpoint["images_seen"] = self.images_seen
        self.clock.pause()
        checkpoint["config"] = self.config
        checkpoint["fingerprints"] = self.fingerprints
        checkpoint["random_state"] = random_states()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the counters; every trainable tensor must be present."""
        missing = self.trainable_state().keys() - checkpoint["state_dict"].keys()
        if missing:
            raise UserError(
                f"The checkpoint lacks {len(missing)} trainable tensors, first "
                f"{min(missing)!r}: it belongs to another configuration."
            )
        for name, own in self.trainable_state().items():
            found_shape = checkpoint["state_dict"][name].shape
            if found_shape != own.shape:
                raise UserError(
                    f"The checkpoint's tensor {name!r} has shape {tuple(found_shape)}, this "
                    f"configuration's {tuple(own.shape)}: give the scale it was trained with."
                )
        for part, found in checkpoint.get("fingerprints", {}).items():
            if self.fingerprints.get(part, found) != found:
                raise UserError(
                    f"The checkpoint was trained on another {part} ({found}) than the one at hand "
                    f"({self.fingerprints[part]}): give the same {part}."
                )
        self.generator_step = int(checkpoint["generator_step"])
        self.skipped_steps = int(checkpoint["skipped_steps"])
        self.clock.seconds = float(checkpoint.get("training_seconds", 0.0))  # absent: of before
        self.images_seen = int(checkpoint.get("images_seen", 0))
        self._log_spent()  # for a validation before the next step
        restore_random_state(checkpoint["random_state"])


def adam(parameters: Iterable[nn.Parameter], rate: float, **options: Any) -> torch.optim.Optimizer:
    """Returns AdamW over the parameters that want gradients, its peak rate kept beside."""
    wanted = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=rate, **options)
    for group in optimizer.param_groups:
        group["initial_lr"] = rate
    return optimizer
