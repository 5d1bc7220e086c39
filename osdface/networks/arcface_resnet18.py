"""ArcFace's ResNet-18 on gray images, with which the field measures Deg."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.errors import UserError

SIDE = 128  # pixels of its input


class _Block(nn.Module):
    """Names of the members below are those of the released file."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, before, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        return self.prelu(self.bn2(self.conv2(inner)) + self.downsample(x))


class ArcFaceResNet18(nn.Module):
    """ResNet-18 with improved residual blocks: gray (B, 1, 128, 128) in [-1, 1] -> (B, 512).

    Source: Deng et al., *ArcFace*, in the layout of ``arcface_resnet18.pth`` (without squeeze and
    excitation).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU()
        before = 64
        for number, width in enumerate((64, 128, 256, 512), 1):
            first = _Block(before, width, 1 if number == 1 else 2)
            self.add_module(f"layer{number}", nn.Sequential(first, _Block(width, width, 1)))
            before = width
        self.bn4 = nn.BatchNorm2d(512)
        self.fc5 = nn.Linear(512 * 8 * 8, 512)
        self.bn5 = nn.BatchNorm1d(512)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.prelu(self.bn1(self.conv1(x))), 2)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.bn5(self.fc5(self.bn4(x).flatten(1)))

    @classmethod
    def from_released(cls, state: Mapping[str, Tensor]) -> "ArcFaceResNet18":
        """Returns the network with the released weights, saved with or without DataParallel.

        Raises:
            UserError: They are of another network.
        """
        network = cls()
        try:
            network.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
        except (RuntimeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"These are no weights of ArcFace's ResNet-18: {reason}") from error
        return network


class GrayResize(nn.Module):
    """(B, 3, H, W) in [-1, 1] to BT.601 gray (B, 1, 128, 128): bilinear, not antialiased.

    As OpenCV reads and resizes in the field's scripts, but for the rounding to bytes.
    """

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.tensor((0.299, 0.587, 0.114), dtype=x.dtype, device=x.device)
        gray = (x * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)
        return F.interpolate(gray, (SIDE, SIDE), mode="bilinear", align_corners=False)
