"""NIQE: how far an image's statistics are from those of pristine photographs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osdface.errors import UserError
from osdface.metrics.niqe_features import BLOCK, block_features
from osdface.metrics.no_reference import NoReferenceMean

PARAMETERS = "niqe_pris_params.npz"


class Niqe(NoReferenceMean):
    """Mean NIQE of images (B, 3, H, W) in [-1, 1], of two blocks of 96 pixels or more.

    sqrt((m - m0)^T ((C + C0) / 2)^+ (m - m0)) of mean m and covariance C of 36 features a block, of
    rounded BT.601 luma in [16, 235]. Computed in float64. Source: Mittal et al., *Making a
    "completely blind" image quality analyzer*, with the published parameters.

    Args:
        parameters: File of the pristine mean, covariance and the Gaussian window.

    Raises:
        UserError: The file holds something else; an image is too small.
    """

    def __init__(self, parameters: str | Path) -> None:
        super().__init__(("niqe",))
        try:
            with np.load(parameters, allow_pickle=False) as held:
                arrays = [held[f"{k}_pris_param"] for k in ("mu", "cov")]
                window = held["gaussian_window"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{parameters} holds no parameters of NIQE ({error}).") from error
        self.mean = torch.tensor(arrays[0].ravel(), dtype=torch.float64)
        self.covariance = torch.tensor(arrays[1], dtype=torch.float64)
        self.window = torch.tensor(window, dtype=torch.float64)

    def of_image(self, restored: Tensor) -> dict[str, Tensor]:
        height, width = restored.shape[-2:]
        if (height // BLOCK) * (width // BLOCK) < 2:
            raise UserError(
                f"NIQE needs two blocks of {BLOCK} x {BLOCK} pixels, and images of {width} x "
                f"{height} have fewer: leave niqe out with metrics=."
            )
        # MPS has no float64, and the work is small.
        features = block_features(luma(restored.cpu().double()), self.window)
        return {"niqe": torch.stack([self._distance(blocks) for blocks in features])}

    def _distance(self, blocks: Tensor) -> Tensor:
        """The distance of one image's blocks (N, 36); flat ones have features without a value."""
        mean = blocks.nanmean(0)
        whole = blocks[~blocks.isnan().any(1)]
        if len(whole) < 2 or mean.isnan().any():
            return torch.tensor(torch.nan, dtype=torch.float64)
        covariance = (self.covariance + torch.cov(whole.T)) / 2
        apart = mean - self.mean
        return (apart @ torch.linalg.pinv(covariance, hermitian=True) @ apart).clamp(min=0).sqrt()


def luma(images: Tensor) -> Tensor:
    """Returns BT.601 luma (B, 1, H, W), whole numbers in [16, 235], of RGB in [-1, 1]."""
    levels = ((images.clamp(-1, 1) + 1) * 127.5).round() / 255
    weights = levels.new_tensor((65.481, 128.553, 24.966)).view(1, 3, 1, 1)
    return ((levels * weights).sum(1, keepdim=True) + 16).round()
