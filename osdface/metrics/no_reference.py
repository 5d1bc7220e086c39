"""The base of the metrics that look at the restored image alone."""

import torch
from torch import Tensor

from osdface.metrics.per_image import PerImageMean


class NoReferenceMean(PerImageMean):
    """Means over images of figures that need no original.

    ``update(restored)`` takes images (B, 3, H, W) in [-1, 1]; a target is accepted and not looked
    at, so that these metrics can stand among the others.
    """

    needs_target = False

    def of_image(self, restored: Tensor) -> dict[str, Tensor]:
        """Returns every figure of each image, name -> (B,)."""
        raise NotImplementedError

    def per_image(self, restored: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        return self.of_image(restored)

    def update(self, restored: Tensor, target: Tensor | None = None) -> None:
        """Adds a batch."""
        with torch.no_grad():
            self.add(self.of_image(restored.float()))
