"""What the modules offer for logging, collected under the keys that every log uses."""

import math
from collections.abc import Mapping
from typing import Any


def current_step(pl_module: Any) -> int:
    """Returns the module's own count of generator steps, the x axis of every log.

    Lightning's ``global_step`` counts the steps of both optimizers.
    """
    return int(pl_module.generator_step)


def numbers(values: Mapping[str, Any] | None, prefix: str = "") -> dict[str, float]:
    """Returns ``values`` as floats under ``prefix + key``; what is no number is left out."""
    result = {}
    for key, value in (values or {}).items():
        try:
            result[f"{prefix}{key}"] = float(value)
        except (TypeError, ValueError):
            continue
    return result


def training_values(pl_module: Any) -> dict[str, float]:
    """Returns the figures of the latest training step (``pl_module.logged``).

    Once a picture could not be read, ``data/broken`` counts those that were replaced so far;
    ``data/damaged_shards`` those shards of which a part, or all, is missing.
    """
    trainer = getattr(pl_module, "_trainer", None)  # the property raises without one
    data = getattr(trainer, "datamodule", None)
    names = {"data/broken": "broken_keys", "data/damaged_shards": "damaged_shards"}
    counts = {key: len(getattr(data, name, ())) for key, name in names.items()}
    extra = {key: float(count) for key, count in counts.items() if count}
    return numbers(getattr(pl_module, "logged", None)) | extra


def validation_values(pl_module: Any) -> dict[str, float]:
    """Returns the latest validation's figures as ``val/<metric>``."""
    return numbers(getattr(pl_module, "validation_metrics", None), "val/")


def short(value: float) -> str:
    """Formats a figure for a progress line: four significant digits, no exponent near one."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


class EverySteps:
    """Says once for each generator step whether something is due at it.

    With gradient accumulation several batches share one generator step; only the batch that
    completes a step counts.
    """

    def __init__(self, every: int, first: bool = False) -> None:
        """``every``: distance in generator steps, at least 1; ``first``: step 1 is due too."""
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.every = every
        self.first = first
        self.seen: int | None = None

    def start(self, step: int) -> None:
        """Sets the step that a run starts or resumes from; it is not due again."""
        self.seen = step

    def due(self, step: int) -> bool:
        """Returns whether ``step`` is new and due."""
        if step == self.seen:
            return False
        self.seen = step
        return step % self.every == 0 or (self.first and step == 1)
