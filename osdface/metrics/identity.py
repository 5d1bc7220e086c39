"""Identity similarity by a face recognition network."""

import torch
from torch import Tensor

from osdface.metrics.per_image import FeatureComparison
from osdface.networks.identity import IdentityEncoder


class IdentitySimilarity(FeatureComparison):
    """Mean cosine (``identity``) and mean angle in degrees (``identity_angle``) of embeddings.

    The angle is the mean over images of arccos, which is not the arccos of the mean cosine; the
    field calls it Deg. Images are FFHQ-aligned faces (B, 3, H, W) in [-1, 1].
    """

    def __init__(self, encoder: IdentityEncoder) -> None:
        super().__init__(("identity", "identity_angle"))
        self.encoder = encoder

    def features(self, images: Tensor) -> Tensor:
        """Returns unit embeddings (B, D)."""
        return self.encoder(images)

    def compare(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Returns cosines and angles (B,) of embeddings (B, D)."""
        x, y = restored.double(), target.double()
        # arccos loses half of the digits near 0; the half angle between unit vectors does not.
        angle = 2 * torch.atan2((x - y).norm(dim=1), (x + y).norm(dim=1))
        return {"identity": angle.cos(), "identity_angle": angle.rad2deg()}

    def specification(self) -> dict[str, str]:
        """Returns which network the figures depend on."""
        network = self.encoder.name + (" (stand-in)" if self.encoder.is_stand_in else "")
        return {
            "identity": f"mean cosine of embeddings by {network}",
            "identity_angle": f"mean angle in degrees of embeddings by {network}",
        }
