"""LPIPS and DISTS, together where one network serves both."""

import torch
from torch import Tensor

from osdface.losses.dists import DISTS
from osdface.losses.lpips import LPIPS
from osdface.losses.perceptual import unit_range
from osdface.metrics.per_image import PerImageMean
from osdface.networks.vgg16 import VGG16Trunk


class PerceptualSimilarity(PerImageMean):
    """Means over images of ``lpips`` and ``dists``, for images (B, 3, H, W) in [-1, 1].

    On a VGG16 the first stage is computed once for both; the later ones differ, because LPIPS takes
    maxima and DISTS L2 pooling. The figures are those of either alone.

    Args:
        lpips: None leaves it out.
        dists: None leaves it out; on VGG16 both must hold the same weights.
    """

    def __init__(self, lpips: LPIPS | None, dists: DISTS | None) -> None:
        named = {"lpips": lpips, "dists": dists}
        super().__init__([name for name, loss in named.items() if loss is not None])
        self.lpips, self.dists = lpips, dists

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        losses = {k: each for k, each in (("lpips", self.lpips), ("dists", self.dists)) if each}
        trunks = [loss.trunk for loss in losses.values()]
        shared = len(trunks) == 2 and all(isinstance(each, VGG16Trunk) for each in trunks)
        with torch.no_grad():
            if not shared:
                return {name: loss.per_image(restored, target) for name, loss in losses.items()}
            assert self.lpips is not None and self.dists is not None
            x, y = (self._both(unit_range(images)) for images in (restored, target))
            return {
                "lpips": self.lpips.compare(x[0], y[0]),
                "dists": self.dists.compare(x[1], y[1]),
            }

    def _both(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        assert self.lpips is not None and self.dists is not None
        one, other = self.lpips.trunk, self.dists.trunk
        assert isinstance(one, VGG16Trunk) and isinstance(other, VGG16Trunk)
        first = one.first_stage(images)
        return one.from_first(first), [images, *other.from_first(first)]

    def specification(self) -> dict[str, str]:
        """Returns which network the figures depend on."""
        losses = {"lpips": self.lpips, "dists": self.dists}
        return {name: loss.specification() for name, loss in losses.items() if loss}
