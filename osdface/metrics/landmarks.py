"""LMD: how far facial landmarks move."""

from torch import Tensor

from osdface.metrics.per_image import FeatureComparison
from osdface.networks.landmarks import SIDE, LandmarkNetwork


class LandmarkDistance(FeatureComparison):
    """Mean over images of the mean distance of corresponding landmarks, in pixels at 512 (``lmd``).

    Images are FFHQ-aligned faces (B, 3, H, W) in [-1, 1]. Source: LMD of the field's scripts.
    """

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__(("lmd",))
        self.network = network

    def features(self, images: Tensor) -> Tensor:
        """Returns landmarks (B, N, 2) in pixels at 512, float64 on the CPU."""
        return self.network(images)

    def compare(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Returns the mean distance (B,) of landmarks (B, N, 2)."""
        return {"lmd": (restored - target).norm(dim=-1).mean(1)}

    def specification(self) -> dict[str, str]:
        """Returns which network the figure depends on."""
        network = self.network.name + (" (stand-in)" if self.network.is_stand_in else "")
        return {"lmd": f"mean distance in pixels at {SIDE} of landmarks by {network}"}
