"""Pixel losses."""

from torch import Tensor, nn

from osdface.losses.perceptual import full_precision


class PixelLoss(nn.Module):
    """Mean of ``|x - y|^power`` over images (B, 3, H, W) in [-1, 1]: scalar, at least float32.

    In [-1, 1] the squared error is four times that of images in [0, 1].
    """

    name = "pixel"
    power = 2

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each image (B,)."""
        difference = full_precision(restored) - full_precision(target).detach()
        return difference.abs().pow(self.power).flatten(1).mean(1)

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        return self.per_image(restored, target).mean()

    def specification(self) -> str:
        """Returns what is computed, for the reader of a number."""
        return f"{self.name} of images in [-1, 1]"


class MSE(PixelLoss):
    """Mean squared error (OSDFace's L_MSE)."""

    name = "mse"
    power = 2


class L1(PixelLoss):
    """Mean absolute error (the reconstruction loss of stage 1)."""

    name = "l1"
    power = 1
