"""LPIPS: learned perceptual image patch similarity."""

import torch
from torch import Tensor

from osdface.losses.perceptual import PerceptualLoss, require_pooling, wheel_file
from osdface.networks.alexnet import AlexNetTrunk
from osdface.networks.trunk import PerceptualTrunk
from osdface.networks.vgg16 import VGG16_CHANNELS


class LPIPS(PerceptualLoss):
    """LPIPS on any trunk: the weighted squared difference of channel-normalised features.

    Sum over stages of the mean over places of sum_c w_c (x_c / |x| - y_c / |y|)^2. Source: Zhang et
    al., equation 1, with the released heads (version 0.1) for VGG16 and AlexNet trunks; for all
    others every channel counts 1 / number of stages, so that the value lies in [0, 2].

    Args:
        trunk: A feature trunk; VGG16 must have max pooling.
    """

    name = "lpips"

    def __init__(self, trunk: PerceptualTrunk) -> None:
        super().__init__(trunk)
        stages = len(trunk.channels)
        heads = [torch.full((channels,), 1 / stages) for channels in trunk.channels]
        if trunk.channels == VGG16_CHANNELS:
            require_pooling(trunk, "max", "LPIPS")
            heads = _released("vgg")
        elif isinstance(trunk, AlexNetTrunk):
            heads = _released("alex")
        self.set_weights(heads)

    def set_weights(self, heads: list[Tensor]) -> None:
        """Sets the weight (C,) of every channel of every stage."""
        for stage, head in enumerate(heads):
            self.register_buffer(f"head{stage}", head, persistent=False)

    def compare(self, restored: list[Tensor], target: list[Tensor]) -> Tensor:
        """Returns the distance (B,) of two lists of features."""
        terms = []
        for stage, (x, y) in enumerate(zip(restored, target, strict=True)):
            squared = (_unit(x) - _unit(y)).square().mean((2, 3))
            terms.append(squared @ self.get_buffer(f"head{stage}"))
        return torch.stack(terms).sum(0)


def _released(network: str) -> list[Tensor]:
    file = wheel_file("lpips", f"weights/v0.1/{network}.pth")
    released = torch.load(file, map_location="cpu", weights_only=True)
    return [released[f"lin{stage}.model.1.weight"].flatten() for stage in range(len(released))]


def _unit(x: Tensor) -> Tensor:
    # Below the root, because a place without any activation would have an infinite slope.
    return x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt()
