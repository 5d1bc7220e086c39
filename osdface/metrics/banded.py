"""LPIPS' and DISTS' comparison of two feature maps, in bands that stay in the processor's cache.

The same figures as the losses' own ``compare``, without gradients. At 512 pixels a map of the first
stage has 64 MiB: operations on the whole of it wait for memory, and took a third of the time.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_BAND = 1 << 18  # numbers at once: 1 MiB of float32
_EPSILON, _C = 1e-10, 1e-6  # LPIPS' and DISTS' own constants


def lpips_stage(x: Tensor, y: Tensor, head: Tensor) -> Tensor:
    """Returns a stage's part of LPIPS (B,), float64, of features (B, C, H, W); ``head`` is (C,)."""
    return torch.stack([_lpips(*pair, head.double()) for pair in _places(x, y)])


def _lpips(x: Tensor, y: Tensor, head: Tensor) -> Tensor:
    total = torch.zeros_like(head)
    for a, b in _bands(x, y):
        total += (_unit(a) - _unit(b)).square_().sum(0).double()
    return total @ head / len(x)


def _unit(x: Tensor) -> Tensor:
    squared = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_()
    return x * squared.add_(_EPSILON).rsqrt_()


def dists_stage(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Returns a stage's part of DISTS (B,), float64, of features (B, C, H, W).

    ``alpha`` and ``beta`` (C,) weigh the means and the structure.
    """
    weights = alpha.double(), beta.double()
    return torch.stack([_dists(*pair, *weights) for pair in _places(x, y)])


def _dists(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    mean_x, mean_y = x.mean(0), y.mean(0)
    apart, spread = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for a, b in _bands(x, y):
        a, b = a - mean_x, b - mean_y
        apart += (a - b).square_().sum(0).double()
        spread += a.square_().add_(b.square_()).sum(0).double()
    mean_x, mean_y = mean_x.double(), mean_y.double()
    luminance = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + _C)
    structure = apart / (spread + _C * len(x))
    return luminance @ alpha + structure @ beta


def _places(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The maps of each image as (H * W, C); in the layout channels_last nothing is copied."""
    for pair in zip(x, y, strict=True):
        one, other = (each.permute(1, 2, 0).reshape(-1, len(each)) for each in pair)
        yield one, other


def _bands(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    # A GPU has no such cache, and each step costs it a launch.
    rows = max(1, _BAND // x.shape[1]) if x.device.type == "cpu" else len(x)
    return zip(x.split(rows), y.split(rows), strict=True)
