"""Scoring as it is done without us: figure by figure, image by image, each library's own call."""

import importlib
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import lpips
import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.models import vgg

from osdface.networks.arcface_resnet18 import ArcFaceResNet18
from osdface.networks.vgg16 import VGG16Trunk

dists_module: Any = importlib.import_module("torchmetrics.functional.image.dists")
awing_module: Any = importlib.import_module("facexlib.alignment.awing_arch")
VGG, ARCFACE, AWING = "random.pth", "arcface_resnet18.pth", "alignment_WFLW_4HG.pth"


def save_weights(folder: Path) -> VGG16Trunk:
    """Writes files of the published layouts and sizes with random weights; returns the VGG16."""
    trunk = VGG16Trunk("max").eval()
    whole = torchvision.models.vgg16(weights=None, init_weights=False).state_dict()
    torch.save(whole | trunk.state_dict(), folder / VGG)
    torch.save(ArcFaceResNet18().state_dict(), folder / ARCFACE)
    hourglass = awing_module.FAN(num_modules=4, num_landmarks=98, device="cpu")
    torch.save({"state_dict": hourglass.state_dict()}, folder / AWING)
    return trunk


def _read(path: Path) -> Tensor:
    array = np.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(array.transpose(2, 0, 1).copy())[None].float() / 255


class LibraryWay:
    """The figures by OpenCV, torchmetrics, lpips and facexlib; Deg. as the field's scripts do it.

    Both images are read for every figure, as each library's script does.

    Args:
        folder: What :func:`save_weights` filled.
        trunk: What it returned.
        kept: Keep torchmetrics' DISTS network, whose own call builds VGG16 anew and reads its file.
    """

    def __init__(self, folder: Path, trunk: VGG16Trunk, kept: bool) -> None:
        layers = nn.Sequential(*trunk.features, nn.MaxPool2d(2))
        fake = types.SimpleNamespace(vgg16=lambda **_: types.SimpleNamespace(features=layers))
        self.file = folder / VGG
        with mock.patch.object(lpips.pretrained_networks, "tv", fake):
            self.network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
        self.kept = self._build() if kept else None
        self.arcface = ArcFaceResNet18().eval()
        self.arcface.load_state_dict(torch.load(folder / ARCFACE, weights_only=True))
        self.awing = awing_module.FAN(num_modules=4, num_landmarks=98, device="cpu").eval()
        self.awing.load_state_dict(torch.load(folder / AWING, weights_only=True)["state_dict"])

    def _build(self) -> nn.Module:
        with mock.patch.object(dists_module, "vgg16", self._vgg16):
            return dists_module.DISTSNetwork(load_weights=True).eval()

    def _vgg16(self, **_: Any) -> nn.Module:
        """torchvision's with the file's weights, as it builds it, but without asking the hub."""
        features = vgg.make_layers(vgg.cfgs["D"])
        network = torchvision.models.VGG(features, init_weights=False)
        network.load_state_dict(torch.load(self.file, map_location="cpu", weights_only=True))
        return network

    def __call__(
        self, restored: Sequence[Path], targets: Sequence[Path], figures: Sequence[str]
    ) -> dict[str, list[float]]:
        """Returns figure -> its value for every pair."""
        measured: dict[str, Callable[[Path, Path], float]] = {
            name: getattr(self, f"_{name}") for name in figures
        }
        pairs = list(zip(restored, targets, strict=True))
        # facexlib needs a name that NumPy removed.
        with torch.inference_mode(), mock.patch.object(np, "float", float, create=True):
            return {name: [one(*pair) for pair in pairs] for name, one in measured.items()}

    def _psnr(self, restored: Path, target: Path) -> float:
        return float(cv2.PSNR(cv2.imread(str(restored)), cv2.imread(str(target))))

    def _ssim(self, restored: Path, target: Path) -> float:
        pair = (_read(each) for each in (restored, target))
        return float(structural_similarity_index_measure(*pair, data_range=1.0))  # type: ignore[arg-type]

    def _lpips(self, restored: Path, target: Path) -> float:
        return float(self.network(_read(restored) * 2 - 1, _read(target) * 2 - 1))

    def _dists(self, restored: Path, target: Path) -> float:
        network = self.kept or self._build()
        return float(network(_read(restored), _read(target)))

    def _deg(self, restored: Path, target: Path) -> float:
        x, y = (self._embedded(each) for each in (restored, target))
        return float(torch.cosine_similarity(x, y).clamp(-1, 1).arccos().rad2deg())

    def _embedded(self, path: Path) -> Tensor:
        gray = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (128, 128))
        return self.arcface((torch.from_numpy(gray)[None, None].float() - 127.5) / 127.5)

    def _lmd(self, restored: Path, target: Path) -> float:
        x, y = (self.awing.get_landmarks(cv2.imread(str(each))) for each in (restored, target))
        return float(np.linalg.norm(x - y, axis=1).mean())
