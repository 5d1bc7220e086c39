"""Edge-aware perceptual losses: EA-DISTS and EA-LPIPS."""

import torch
from torch import Tensor

from osdface.losses.edges import sobel_edges
from osdface.losses.perceptual import PerceptualLoss


class EdgeAware(PerceptualLoss):
    """L(x, y) + L(E(x), E(y)) with the Sobel operator E, for a perceptual loss L.

    Images (B, 3, H, W) in [-1, 1]; edges are taken of the images in [0, 1] and repeated to three
    channels. Images and edges pass the trunk as one batch. Source: OSDFace, EA-DISTS.
    """

    def __init__(self, loss: PerceptualLoss) -> None:
        super().__init__(loss.trunk)
        self.loss = loss
        self.name = f"ea_{loss.name}"

    def features(self, images: Tensor) -> list[Tensor]:
        """Returns features of batch 2B: first those of the images, then those of their edges."""
        edges = sobel_edges(images).expand_as(images)
        return self.loss.features(torch.cat([images, edges]))

    def compare(self, restored: list[Tensor], target: list[Tensor]) -> Tensor:
        """Returns the distance (B,) of two lists of features of batch 2B."""
        images, edges = self.loss.compare(restored, target).chunk(2)
        return images + edges
