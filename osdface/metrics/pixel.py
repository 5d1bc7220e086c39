"""PSNR, SSIM and L1."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from osdface.metrics.per_image import PerImageMean

_RANGE = "RGB in [0, 1], clamped"


class PixelMetrics(PerImageMean):
    """Means over images of PSNR in dB, SSIM and the mean absolute error, of RGB in [0, 1].

    Images (B, 3, H, W) in [-1, 1] are mapped to [0, 1] and clamped. Equal images get 100 dB, not
    infinity, so that a mean remains a number. SSIM is torchmetrics': Gaussian window, sigma 1.5.
    """

    def __init__(self) -> None:
        super().__init__(("psnr", "ssim", "l1"))

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        x, y = ((image.clamp(-1, 1) + 1) / 2 for image in (restored, target))
        difference = (x - y).double().flatten(1)
        squared = difference.square().mean(1).clamp(min=1e-10)
        ssim = structural_similarity_index_measure(x, y, reduction="none", data_range=1.0)
        assert isinstance(ssim, Tensor)  # a tuple only with return_full_image
        return {
            "psnr": -10 * torch.log10(squared),
            "ssim": ssim.reshape(len(x)),
            "l1": difference.abs().mean(1),
        }

    def specification(self) -> dict[str, str]:
        """Returns for every figure how it is computed."""
        return {
            "psnr": f"mean over images of the PSNR in dB, {_RANGE}, at most 100",
            "ssim": f"torchmetrics SSIM, {_RANGE}, Gaussian window, sigma 1.5",
            "l1": f"mean absolute error, {_RANGE}",
        }
