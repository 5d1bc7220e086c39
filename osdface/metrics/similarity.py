"""LPIPS and DISTS, together where one network serves both."""

import torch
from torch import Tensor

from osdface.losses.dists import DISTS
from osdface.losses.lpips import LPIPS
from osdface.losses.perceptual import unit_range
from osdface.metrics.banded import dists_stage, lpips_stage
from osdface.metrics.per_image import PerImageMean
from osdface.networks.vgg16 import VGG16Trunk


class PerceptualSimilarity(PerImageMean):
    """Means over images of ``lpips`` and ``dists``, for images (B, 3, H, W) in [-1, 1].

    On a VGG16 the first stage is computed once for both; the later ones differ, because LPIPS takes
    maxima and DISTS L2 pooling. The figures are those of either alone.

    Args:
        lpips: None leaves it out.
        dists: None leaves it out.
        same_weights: Whether both networks hold the same weights, and so share the first stage.
    """

    def __init__(self, lpips: LPIPS | None, dists: DISTS | None, same_weights: bool = True) -> None:
        named = {"lpips": lpips, "dists": dists}
        super().__init__([name for name, loss in named.items() if loss is not None])
        self.lpips, self.dists, self.same_weights = lpips, dists, same_weights

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        losses = {k: each for k, each in (("lpips", self.lpips), ("dists", self.dists)) if each}
        with torch.no_grad():
            if not all(isinstance(loss.trunk, VGG16Trunk) for loss in losses.values()):
                return {name: loss.per_image(restored, target) for name, loss in losses.items()}
            # One by one on a CPU: maps of several images only wait for memory.
            size = 1 if restored.device.type == "cpu" else len(restored)
            pairs = zip(restored.split(size), target.split(size), strict=True)
            found = [self._on_vgg16(*map(unit_range, pair)) for pair in pairs]
        return {name: torch.cat([each[name] for each in found]) for name in losses}

    def _on_vgg16(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Stage by stage, so that no more than two stages' maps are held; images in [0, 1]."""
        found: dict[str, Tensor] = {}
        first: list[Tensor] = []
        if self.lpips is not None:
            first = [_stage(self.lpips.trunk, 0, images) for images in (restored, target)]
            found["lpips"] = self._lpips(first)
        if self.dists is not None:
            images = [restored, target]
            if not (first and self.same_weights):
                first = [_stage(self.dists.trunk, 0, each) for each in images]
            found["dists"] = self._dists(images, first)
        return found

    def _lpips(self, maps: list[Tensor]) -> Tensor:
        assert self.lpips is not None
        parts = []
        for number in range(len(self.lpips.trunk.channels)):
            if number:
                maps = [_stage(self.lpips.trunk, number, each) for each in maps]
            parts.append(lpips_stage(maps[0], maps[1], self.lpips.get_buffer(f"head{number}")))
        return torch.stack(parts).sum(0)

    def _dists(self, images: list[Tensor], maps: list[Tensor]) -> Tensor:
        assert self.dists is not None
        alpha, beta = (
            each.split(self.dists.channels) for each in (self.dists.alpha, self.dists.beta)
        )
        parts = [dists_stage(images[0], images[1], alpha[0], beta[0])]
        for number in range(len(self.dists.trunk.channels)):
            if number:
                maps = [_stage(self.dists.trunk, number, each) for each in maps]
            parts.append(dists_stage(maps[0], maps[1], alpha[number + 1], beta[number + 1]))
        return torch.stack(parts).sum(0)

    def specification(self) -> dict[str, str]:
        """Returns which network the figures depend on."""
        losses = {"lpips": self.lpips, "dists": self.dists}
        return {name: loss.specification() for name, loss in losses.items() if loss}


def _stage(trunk: object, number: int, x: Tensor) -> Tensor:
    assert isinstance(trunk, VGG16Trunk)
    return trunk.stage(number, x)
