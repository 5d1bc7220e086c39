"""LMD: how far facial landmarks move."""

from torch import Tensor

from osdface.metrics.per_image import PerImageMean
from osdface.networks.landmarks import SIDE, LandmarkNetwork


class LandmarkDistance(PerImageMean):
    """Mean over images of the mean distance of corresponding landmarks, in pixels at 512 (``lmd``).

    Images are FFHQ-aligned faces (B, 3, H, W) in [-1, 1]. Source: LMD of the field's scripts.
    """

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__(("lmd",))
        self.network = network

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        apart = self.network(restored) - self.network(target)
        return {"lmd": apart.norm(dim=-1).mean(1)}

    def specification(self) -> dict[str, str]:
        """Returns which network the figure depends on."""
        network = self.network.name + (" (stand-in)" if self.network.is_stand_in else "")
        return {"lmd": f"mean distance in pixels at {SIDE} of landmarks by {network}"}
