"""Facial landmark networks behind one interface: aligned faces to points at 512 pixels."""

import importlib
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osdface.errors import UserError
from osdface.networks.alignment import resize
from osdface.networks.onnx_network import OnnxNetwork
from osdface.paths import find_weight

SIDE = 512  # pixels in which points are given
_FILES = {
    "awing_fan": "alignment_WFLW_4HG.pth",
    "2d106det": "2d106det.onnx",
    "pfld_68": "pfld_68.onnx",
}
# Where the faces of FFHQ crops are, in parts of the side; pfld_68 wants a tight box.
_PFLD_BOX = (0.18, 0.30, 0.82, 0.94)


def decode_heat_maps(maps: Tensor) -> Tensor:
    """Returns the places (B, N, 2) of the peaks of heat maps (B, N, H, W), x before y, in [0, 1].

    The largest place, moved by a quarter towards its larger neighbour, then to the middle of its
    cell. Beyond the border there is no neighbour, and the point is not moved. Source: Bulat and
    Tzimiropoulos, 2017, as in the networks trained with adaptive wing loss.
    """
    height, width = maps.shape[-2:]
    index = maps.flatten(2).argmax(2)
    row, column = index // width, index % width
    flat = maps.flatten(2)

    def at(r: Tensor, c: Tensor) -> Tensor:
        place = r.clamp(0, height - 1) * width + c.clamp(0, width - 1)
        return flat.gather(2, place[..., None])[..., 0]

    inside_x = (column > 0) & (column < width - 1)
    inside_y = (row > 0) & (row < height - 1)
    x_step = torch.sign(at(row, column + 1) - at(row, column - 1)) * inside_x
    y_step = torch.sign(at(row + 1, column) - at(row - 1, column)) * inside_y
    x = (column + 0.25 * x_step + 0.5) / width
    y = (row + 0.25 * y_step + 0.5) / height
    return torch.stack([x, y], -1)


class LandmarkNetwork(nn.Module):
    """A frozen landmark network: (B, 3, H, W) in [-1, 1], FFHQ-aligned -> (B, N, 2) at 512 pixels.

    Attributes:
        name: Which network this is.
        points: N.
        is_stand_in: True for any other than AWING's 98 points, with which the field measures LMD.
        resize: How it resizes, in words.
    """

    def __init__(
        self, network: nn.Module, name: str, points: int, resizing: str, is_stand_in: bool
    ) -> None:
        super().__init__()
        self.network, self.name, self.points = network, name, points
        self.resize, self.is_stand_in = resizing, is_stand_in
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "LandmarkNetwork":
        """Stays in eval mode."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network(images).double().cpu() * SIDE


class _Awing(nn.Module):
    """facexlib's stacked hourglass; points in parts of the side."""

    def __init__(self, hourglass: nn.Module) -> None:
        super().__init__()
        self.hourglass = hourglass

    def forward(self, images: Tensor) -> Tensor:
        # OpenCV's linear resizing, as the network's own pipeline does.
        small = F.interpolate(images, (256, 256), mode="bilinear", align_corners=False)
        maps = self.hourglass((small + 1) / 2)[0][-1][:, :-1]  # the last map is the outline
        return decode_heat_maps(maps.float())


class _Det106(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.network = OnnxNetwork(path)

    def forward(self, images: Tensor) -> Tensor:
        points = self.network((resize(images, 192) + 1) * 127.5)
        return (points.view(len(images), -1, 2) + 1) / 2


class _Pfld(nn.Module):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.network = OnnxNetwork(path)

    def forward(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        left, top, right, bottom = (round(part * side) for part in _PFLD_BOX)
        face = images[..., top:bottom, left:right]
        points = self.network((resize(face, 112) + 1) / 2).view(len(images), -1, 2)
        size = points.new_tensor((right - left, bottom - top))
        return (points * size + points.new_tensor((left, top))) / side


def find_landmarks(spec: str, weights_dir: str | Path | None = None) -> Path:
    """Returns the weight file of a network; raises UserError like :func:`load_landmarks`."""
    if spec not in _FILES:
        raise UserError(f"Unknown landmark network {spec!r}: one of {', '.join(_FILES)}.")
    return find_weight(_FILES[spec], weights_dir)


def load_landmarks(spec: str, weights_dir: str | Path | None = None) -> LandmarkNetwork:
    """Returns a frozen landmark network.

    ``awing_fan`` is facexlib's, with which the field measures LMD; ``2d106det`` and ``pfld_68`` are
    stand-ins for it, whose points are others.

    Args:
        spec: One of the names above.
        weights_dir: Where the file is looked for (see :func:`osdface.paths.find_weight`).

    Raises:
        UserError: The name is unknown, its file is missing or of another network.
    """
    path = find_landmarks(spec, weights_dir)
    if spec == "2d106det":
        resizing = "192, bilinear, antialiased"
        return LandmarkNetwork(_Det106(path), "2d106det, 106 points", 106, resizing, True)
    if spec == "pfld_68":
        resizing = "central crop to 112, bilinear, antialiased"
        return LandmarkNetwork(_Pfld(path), "pfld_68, 68 points", 68, resizing, True)
    architecture = importlib.import_module("facexlib.alignment.awing_arch")
    hourglass = architecture.FAN(num_modules=4, num_landmarks=98, device="cpu")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        hourglass.load_state_dict(held["state_dict"])
    except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} holds no weights of AWING's network.") from error
    name = "AWING's stacked hourglass, 98 points"
    return LandmarkNetwork(_Awing(hourglass), name, 98, "256, bilinear", False)
