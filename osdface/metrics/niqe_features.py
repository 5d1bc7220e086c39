"""NIQE's 36 features a block: generalized Gaussians fitted to local contrast, two scales."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 96
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # horizontal, vertical, both diagonals


def block_features(luma: Tensor, window: Tensor) -> Tensor:
    """Returns the features (B, N, 36) of the N whole blocks of luma (B, 1, H, W) in [0, 255].

    Args:
        luma: float64; what lies beyond the last whole block is cut off.
        window: The Gaussian window (7, 7).
    """
    rows, columns = (side // BLOCK for side in luma.shape[-2:])
    luma = luma[..., : rows * BLOCK, : columns * BLOCK]
    found = []
    for scale in (1, 2):
        found.append(_of_scale(_local_contrast(luma, window), BLOCK // scale))
        luma = halved(luma)
    return torch.cat(found, -1)


def _local_contrast(luma: Tensor, window: Tensor) -> Tensor:
    """(x - local mean) / (local deviation + 1), the border repeated."""
    side = window.shape[0] // 2

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (side,) * 4, mode="replicate"), window[None, None])

    local = mean(luma)
    deviation = (mean(luma.square()) - local.square()).abs().sqrt()
    return (luma - local) / (deviation + 1)


def _of_scale(contrast: Tensor, side: int) -> Tensor:
    batch, _, height, width = contrast.shape
    blocks = contrast.view(batch, height // side, side, width // side, side)
    blocks = blocks.transpose(2, 3).reshape(batch, -1, side, side)
    shape, left, right = _fit(blocks)
    features = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = _fit(blocks * blocks.roll(shift, (2, 3)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
        features += [shape, mean, left, right]
    return torch.stack(features, -1)


@cache
def _shapes() -> tuple[Tensor, Tensor]:
    """Shape parameters that are tried, and the ratio Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a))."""
    shapes = torch.arange(200, 10001, dtype=torch.float64) / 1000
    logs = 2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)
    return shapes, logs.exp()


def _fit(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape, left and right scale (B, N) of asymmetric generalized Gaussians, by moments.

    Source: Lasmar et al., 2009. The ratio rises with the shape.
    """
    x = blocks.flatten(2)
    squared = x.square()
    left, right = (
        ((squared * side).sum(2) / side.sum(2)).sqrt()
        for side in ((x < 0).double(), (x > 0).double())
    )
    g = left / right
    ratio = x.abs().mean(2).square() / squared.mean(2)
    ratio = ratio * (g**3 + 1) * (g + 1) / (g**2 + 1).square()
    shapes, ratios = _shapes()
    after = torch.searchsorted(ratios, ratio.contiguous()).clamp(1, len(ratios) - 1)
    before = after - 1
    nearer = (ratios[before] - ratio).abs() <= (ratios[after] - ratio).abs()
    shape = shapes[torch.where(nearer, before, after)]
    scale = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return torch.where(ratio.isnan(), ratio, shape), left * scale, right * scale


def _halving_taps() -> list[float]:
    """Cubic convolution (a = -1/2), widened twice, at distances 0.25, 0.75, 1.25, 1.75, halved."""

    def cubic(x: float) -> float:
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2

    half = [cubic((tap + 0.5) / 2) / 2 for tap in range(4)]
    return [value / (2 * math.fsum(half)) for value in [*half[::-1], *half]]


def halved(luma: Tensor) -> Tensor:
    """Returns (B, 1, H, W) of even sides at half the size: bicubic, antialiased, border mirrored.

    The original's MATLAB resizing, which mirrors with the border pixel doubled.
    """
    taps = luma.new_tensor(_halving_taps())
    for dimension in (2, 3):
        size = luma.shape[dimension]
        place = torch.arange(-3, size + 3).clamp(-size, 2 * size - 1)
        place = torch.where(place < 0, -1 - place, place)
        place = torch.where(place >= size, 2 * size - 1 - place, place)
        windows = luma.index_select(dimension, place).unfold(dimension, 8, 2)
        luma = windows @ taps
    return luma
