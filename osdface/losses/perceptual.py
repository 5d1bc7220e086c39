"""What DISTS and LPIPS share: ranges, precision and the target's gradient."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.networks.trunk import PerceptualTrunk


class PerceptualLoss(nn.Module):
    """Base of the losses on trunk features: two images (B, 3, H, W) in [-1, 1] -> scalar.

    Always float32, also under autocast (variances of large means cancel in bf16); float64 stays
    float64 if the trunk is float64. The target's features are computed without a graph.

    Attributes:
        name: The loss's name in :func:`osdface.losses.build_loss`.
        trunk: The network of the features.
    """

    name = "perceptual"

    def __init__(self, trunk: PerceptualTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def features(self, images: Tensor) -> list[Tensor]:
        """Returns what :meth:`compare` compares, for images (B, 3, H, W) in [0, 1]."""
        return self.trunk(images)

    def compare(self, restored: list[Tensor], target: list[Tensor]) -> Tensor:
        """Returns the distance (B,) of two lists of features."""
        raise NotImplementedError

    def distances(self, restored: Tensor, target: Tensor) -> Tensor:
        """Returns (B,) for images in [0, 1] of full precision."""
        with torch.no_grad():
            features = self.features(target)
        return self.compare(self.features(restored), features)

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each image (B,), for images (B, 3, H, W) in [-1, 1]."""
        with torch.autocast(restored.device.type, enabled=False):
            return self.distances(unit_range(restored), unit_range(target.detach()))

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        return self.per_image(restored, target).mean()

    def specification(self) -> str:
        """Returns which loss on which network this is, for the reader of a number."""
        suffix = " (stand-in)" if self.trunk.is_stand_in else ""
        return f"{self.name} on {self.trunk.name}{suffix}"


def full_precision(x: Tensor) -> Tensor:
    """Returns float32, or float64 unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit_range(x: Tensor) -> Tensor:
    """Maps images from [-1, 1] to [0, 1] in full precision; out-of-range values are kept."""
    return (full_precision(x) + 1) / 2


def require_pooling(trunk: PerceptualTrunk, pooling: str, loss: str) -> None:
    """Raises UserError if a VGG16 trunk was built with the other loss's pooling."""
    if trunk.pooling != pooling:
        raise UserError(
            f"{loss} on {trunk.name} needs pooling={pooling!r}, but the trunk has "
            f"{trunk.pooling!r}: load it with load_trunk(..., pooling={pooling!r})."
        )


def wheel_file(package: str, name: str) -> Path:
    """Returns a data file of an installed package, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"Released perceptual weights need {package}: pip install {package}.")
    return Path(spec.submodule_search_locations[0]) / name
