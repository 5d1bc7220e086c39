"""A perceptual loss as a metric."""

import torch
from torch import Tensor, nn

from osdface.metrics.per_image import PerImageMean


class PerceptualDistance(PerImageMean):
    """Mean over images of a loss module, for images (B, 3, H, W) in [-1, 1].

    Args:
        loss: Maps (restored, target) to a scalar. Its ``per_image`` is used where it has one, and
            single images otherwise; the result does not depend on the batch size.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__(("perceptual",))
        self.loss = loss

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        if callable(per_image := getattr(self.loss, "per_image", None)):
            return {"perceptual": per_image(restored, target)}
        pairs = zip(restored.split(1), target.split(1), strict=True)
        return {"perceptual": torch.stack([self.loss(x, y) for x, y in pairs])}

    def specification(self) -> dict[str, str]:
        """Returns which loss and network the figure depends on."""
        describe = getattr(self.loss, "specification", None)
        return {"perceptual": describe() if callable(describe) else type(self.loss).__name__}
