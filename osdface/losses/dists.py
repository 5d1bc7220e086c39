"""DISTS: deep image structure and texture similarity."""

from pathlib import Path

import torch
from torch import Tensor

from osdface.errors import UserError
from osdface.losses.perceptual import PerceptualLoss, require_pooling, wheel_file
from osdface.networks.trunk import PerceptualTrunk
from osdface.networks.vgg16 import VGG16_CHANNELS

_C = 1e-6  # c1 = c2 of the paper's released code


class DISTS(PerceptualLoss):
    """DISTS on any trunk: 0 for equal images, larger for less alike ones.

    D = 1 - sum_i alpha_i l_i + beta_i s_i over the channels of the image and of every stage, with
    l = (2 mx my + c) / (mx^2 + my^2 + c), s = (2 cov + c) / (vx + vy + c), sum(alpha + beta) = 1.
    Source: Ding et al., with the released alpha and beta for VGG16 trunks and uniform ones for all
    others. Images are not resized.

    Args:
        trunk: A feature trunk; VGG16 must have L2 pooling.
        weights_file: ``{"alpha", "beta"}`` as released; None takes torchmetrics' copy.
    """

    name = "dists"
    alpha: Tensor
    beta: Tensor

    def __init__(self, trunk: PerceptualTrunk, weights_file: str | Path | None = None) -> None:
        super().__init__(trunk)
        self.channels = (3, *trunk.channels)
        alpha = beta = torch.ones(sum(self.channels))
        if trunk.channels == VGG16_CHANNELS:
            require_pooling(trunk, "l2", "DISTS")
            file = weights_file or wheel_file(
                "torchmetrics", "functional/image/dists_models/weights.pt"
            )
            released = torch.load(file, map_location="cpu", weights_only=True)
            alpha, beta = released["alpha"].flatten(), released["beta"].flatten()
        elif weights_file is not None:
            raise UserError(f"{weights_file} fits VGG16 only, not {trunk.name}.")
        self.set_weights(alpha, beta)

    def set_weights(self, alpha: Tensor, beta: Tensor) -> None:
        """Sets the weights (sum of channels,) of means and structures; they are normalised here."""
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / total, persistent=False)
        self.register_buffer("beta", beta / total, persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Returns the image itself and the trunk's features, for images in [0, 1]."""
        return [images, *self.trunk(images)]

    def compare(self, restored: list[Tensor], target: list[Tensor]) -> Tensor:
        """Returns the distance (B,) of two lists of features."""
        losses = zip(
            restored,
            target,
            self.alpha.split(self.channels),
            self.beta.split(self.channels),
            strict=True,
        )
        terms = [_stage(x, y, alpha, beta) for x, y, alpha, beta in losses]
        return torch.stack(terms).sum(0)


def _stage(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Returns sum alpha (1 - l) + beta (1 - s) of one stage (B,).

    1 - l and 1 - s are written as squared differences, which is the same but does not subtract
    nearly equal numbers: equal images give exactly 0 and an exactly zero gradient.
    """
    mean_x, mean_y = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
    x, y = x - mean_x, y - mean_y
    mean_x, mean_y = mean_x[..., 0, 0], mean_y[..., 0, 0]
    luminance = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + _C)
    variances = x.square().mean((2, 3)) + y.square().mean((2, 3))
    structure = (x - y).square().mean((2, 3)) / (variances + _C)
    return luminance @ alpha + structure @ beta
