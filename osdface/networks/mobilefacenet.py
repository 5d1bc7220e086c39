"""MobileFaceNet, a small recognition network with published weights, and its input."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.networks.alignment import ArcFaceCrop
from osdface.networks.trunk import IMAGENET_MEAN, IMAGENET_STD


class _Separable(nn.Module):
    """Names of the members below are those of the released file."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.pointwise(F.relu(self.bn1(self.depthwise(x))))))


def _relu6(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU6())


class _InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = before * expansion
        self.shortcut = stride == 1 and before == after
        self.conv = nn.Sequential(
            _relu6(before, hidden, 1),
            _relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileFaceNet(nn.Module):
    """MobileFaceNet of 1.0 M parameters: (B, 3, 112, 112), ImageNet-normalised RGB -> (B, 128).

    Source: Chen et al., table 1, with the choices of foamliu/MobileFaceNet (Apache-2.0), whose
    weights it loads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _relu6(3, 64, 3, 2)
        self.dw_conv = _Separable(64)
        blocks, before = [], 64
        for expansion, width, repeats, stride in (
            (2, 64, 5, 2),
            (4, 128, 1, 2),
            (2, 128, 6, 1),
            (4, 128, 1, 2),
            (2, 128, 2, 1),
        ):
            for repeat in range(repeats):
                blocks.append(_InvertedResidual(before, width, 1 if repeat else stride, expansion))
                before = width
        self.features = nn.Sequential(*blocks)
        self.conv2 = _relu6(128, 512, 1)
        self.gdconv = nn.Sequential()
        self.gdconv.add_module("depthwise", nn.Conv2d(512, 512, 7, groups=512, bias=False))
        self.gdconv.add_module("bn", nn.BatchNorm2d(512))
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.features(self.dw_conv(self.conv1(x))))
        return self.bn(self.conv3(self.gdconv(x))).flatten(1)


class ImageNetCrop(ArcFaceCrop):
    """ArcFace's crop, normalised as :class:`MobileFaceNet` expects it."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return ((super().forward(x) + 1) / 2 - self.mean) / self.std
