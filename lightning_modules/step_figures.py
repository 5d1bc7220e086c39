"""What one training step measured, over its micro-batches and all ranks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_modules.ranks import average_figures, world_size


class StepFigures:
    """Collects scalars of micro-batches; :meth:`close` gives those of the whole global batch.

    Nothing is read from the device before a step is complete, and then once.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._norms: set[str] = set()

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Adds means over a micro-batch, such as its losses; scalars."""
        for name, value in figures.items():
            self._values.setdefault(name, []).append(value.detach())

    def add_norms(self, figures: Mapping[str, Tensor]) -> None:
        """Adds L2 norms of gradients that a micro-batch's mean loss has for its own samples."""
        self._norms.update(figures)
        self.add({name: value.square() for name, value in figures.items()})

    def close(self) -> dict[str, float]:
        """Returns the figures of the global batch and starts anew; every rank calls it together.

        Micro-batches are equally large, so the mean of their means is the mean over the batch. A
        sample's part in a mean over k micro-batches is a k-th of its part in its own, and squares
        of norms of disjoint samples add up: the whole norm is sqrt(mean of squares / k).
        """
        values, norms = self._values, self._norms
        self._values, self._norms = {}, set()
        found = average_figures({name: torch.stack(own).mean() for name, own in values.items()})
        for name in norms:
            found[name] = (found[name] / (len(values[name]) * world_size())) ** 0.5
        return found
