"""ArcFace's crop, taken out of FFHQ-aligned faces of any resolution with a gradient."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Eyes, nose, mouth corners in pixels of the 512 x 512 FFHQ crop and the 112 x 112 ArcFace crop.
FFHQ_TEMPLATE = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
ARCFACE_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def resize(x: Tensor, size: int) -> Tensor:
    """Resizes (B, C, H, W) to (B, C, size, size), bilinear with antialiasing (as PIL does)."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)


def fit_similarity(source: Any, target: Any) -> np.ndarray:
    """Returns the (2, 3) similarity that maps points (N, 2) onto others with least squares.

    Rotation, uniform scale, shift, no reflection: a point is the complex number x + iy, and the
    map is z -> a z + b.
    """
    points, images = (np.asarray(p, float) @ (1, 1j) for p in (source, target))
    centred = points - points.mean()
    a = np.vdot(centred, images - images.mean()) / np.vdot(centred, centred)
    b = images.mean() - a * points.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _arcface_theta() -> Tensor:
    """Returns the affine_grid matrix that takes ArcFace's crop out of an FFHQ crop."""
    matrix = np.vstack([fit_similarity(FFHQ_TEMPLATE, ARCFACE_TEMPLATE), (0, 0, 1)])

    # Normalised coordinates (align_corners=False) count from the image's border, pixels from the
    # first pixel's centre: x = (2 pixel + 1) / size - 1. They do not depend on the resolution.
    def pixels(size: int) -> np.ndarray:
        return np.array([[size / 2, 0, size / 2 - 0.5], [0, size / 2, size / 2 - 0.5], [0, 0, 1]])

    theta = np.linalg.inv(pixels(512)) @ np.linalg.inv(matrix) @ pixels(112)
    return torch.tensor(theta[:2])


class ArcFaceCrop(nn.Module):
    """Warps an FFHQ crop (B, 3, R, R) of any R to ArcFace's 112 x 112 template, differentiably."""

    theta: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("theta", _arcface_theta(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # At 150 the crop's scale is 1. Sampling a larger image directly would alias.
        x = resize(x, 150) if x.shape[-1] > 150 else x
        theta = self.theta.to(x).expand(len(x), 2, 3)
        grid = F.affine_grid(theta, [len(x), x.shape[1], 112, 112], align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
