"""What the feature trunks of the perceptual losses share: normalisation, pooling, attributes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class L2Pool(nn.Module):
    """Halves a feature map by the root of the Hanning-weighted mean of squares.

    (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2)). Source: DISTS (Ding et al.); unlike max pooling it
    hardly aliases.
    """

    def forward(self, x: Tensor) -> Tensor:
        window = x.new_tensor((0.25, 0.5, 0.25))
        kernel = torch.outer(window, window).expand(x.shape[1], 1, 3, 3)
        mean = F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
        return (mean + 1e-12).sqrt()  # the root's slope at 0 is infinite


class PerceptualTrunk(nn.Module):
    """Base of the trunks: an image (B, 3, H, W) in [0, 1] to a list of stage features.

    The image itself is not among the features. Weights and image must have one dtype: call
    ``.double()`` before a float64 check.

    Attributes:
        channels: Number of channels of each stage.
        name: Which network this is, printed beside every number computed with it.
        is_stand_in: True if the numbers are not comparable with published ones.
        pooling: ``l2`` or ``max``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: tuple[int, ...], name: str, is_stand_in: bool, pooling: str = "l2"
    ):
        super().__init__()
        if pooling not in ("l2", "max"):
            raise UserError(f"Unknown pooling {pooling!r}: choose l2 (DISTS) or max (LPIPS).")
        self.channels = tuple(channels)
        self.name, self.is_stand_in, self.pooling = name, is_stand_in, pooling
        self.set_input(IMAGENET_MEAN, IMAGENET_STD)

    def set_input(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Sets the per-channel normalisation ``(x - mean) / std`` of images in [0, 1]."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, x: Tensor) -> Tensor:
        """Maps an image in [0, 1] to what the first convolution expects."""
        return (x - self.mean) / self.std

    def pool(self) -> nn.Module:
        """Returns a new pooling layer of the chosen kind."""
        return L2Pool() if self.pooling == "l2" else nn.MaxPool2d(2)
