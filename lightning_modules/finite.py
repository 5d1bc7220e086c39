"""The guard against non-finite steps: what it remembers of a step, and what it says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, distributed


def agreed(finite: bool, device: torch.device) -> bool:
    """Returns whether a step is finite on every rank; all ranks must call it together."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return finite
    broken = torch.tensor(float(not finite), device=device)
    distributed.all_reduce(broken, op=distributed.ReduceOp.MAX)
    return not bool(broken)


@dataclass
class UpdateGuard:
    """What one optimizer's update has seen: losses and keys of the step at hand, skips in a row."""

    name: str
    in_a_row: int = 0
    losses: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def note(self, loss: Tensor, keys: Sequence[str]) -> None:
        """Remembers a micro-batch."""
        self.losses.append(float(loss.detach()))
        self.keys += keys

    def close(self, step: int, norm: float, skipped: bool) -> dict[str, Any] | None:
        """Forgets the step; returns what there is to write down of it if it was skipped.

        Numbers stand as text: JSON has no NaN.
        """
        losses, keys = self.losses, self.keys
        self.losses, self.keys = [], []
        if not skipped:
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        return {
            "kind": "skipped",
            "step": step,
            "network": self.name,
            "loss": [str(loss) for loss in losses],
            "gradient_norm": str(norm),
            "in_a_row": self.in_a_row,
            "keys": keys,
        }

    def finite(self, norm: float) -> bool:
        """Whether this rank's losses and gradient of the step are finite."""
        return math.isfinite(norm) and all(map(math.isfinite, self.losses))
