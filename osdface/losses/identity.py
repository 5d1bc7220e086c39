"""The identity loss."""

import torch
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.losses.perceptual import full_precision
from osdface.networks.identity import IdentityEncoder


class IdentityLoss(nn.Module):
    """Mean of 1 - cos of the embeddings of FFHQ-aligned faces (B, 3, H, W) in [-1, 1]: in [0, 2].

    The two images may differ in size: the encoder resizes. Always float32, also under autocast.
    Source: OSDFace, L_ID.

    Raises:
        UserError: The encoder can only score (onnxruntime).
    """

    name = "identity"

    def __init__(self, encoder: IdentityEncoder) -> None:
        super().__init__()
        if not encoder.differentiable:
            raise UserError(
                f"{encoder.name} has no gradient: choose another network for the loss and keep "
                f"{encoder.name} for the metric."
            )
        self.encoder = encoder

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each image (B,)."""
        with torch.autocast(restored.device.type, enabled=False):
            with torch.no_grad():
                wanted = self.encoder(full_precision(target))
            found = self.encoder(full_precision(restored))
        # Equal to 1 - cos for unit vectors, but exactly 0 for equal ones.
        return (found - wanted).square().sum(1) / 2

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        return self.per_image(restored, target).mean()

    def specification(self) -> str:
        """Returns which network this depends on, for the reader of a number."""
        return f"1 - cosine by {self.encoder.name}" + (
            " (stand-in)" if self.encoder.is_stand_in else ""
        )
