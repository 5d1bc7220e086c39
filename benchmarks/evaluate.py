"""Measuring restored images: ours against each library's own call, image by image.

    python -m benchmarks.evaluate
    python -m benchmarks.evaluate --images 16 --kept

PSNR, SSIM, LPIPS and DISTS on a VGG16 of random weights. The other way reads both images for every
figure, as each library's own script does: OpenCV's PSNR, torchmetrics' SSIM, lpips.LPIPS, and
torchmetrics' DISTS, whose own call builds VGG16 anew and reads its file. With ``--kept`` it is
built once, which is kinder. One run each, same threads; ours includes loading its networks.
"""

import argparse
import importlib
import tempfile
import time
import types
from collections.abc import Callable
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

from experiments.evaluation import processes
from experiments.evaluation.pairing import find_pairs
from experiments.evaluation.planning import Comparison, make_plan
from osdface.devices import device_name
from osdface.metrics.suites import SuiteSettings
from osdface.networks.vgg16 import VGG16Trunk

dists_module: Any = importlib.import_module("torchmetrics.functional.image.dists")
RESOLUTION = 512


def make_images(folder: Path, count: int) -> None:
    """Writes ``hq`` and ``restored``: smooth random pictures, and the same with noise."""
    random = np.random.default_rng(0)
    for name in ("hq", "restored"):
        (folder / name).mkdir()
    for number in range(count):
        small = random.integers(0, 256, (RESOLUTION // 8, RESOLUTION // 8, 3), dtype=np.uint8)
        image = cv2.resize(small, (RESOLUTION, RESOLUTION), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(image + random.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        for name, array in (("hq", image), ("restored", noisy)):
            Image.fromarray(array).save(folder / name / f"{number:04d}.png")


def _read(path: Path) -> Tensor:
    array = np.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(array.transpose(2, 0, 1).copy())[None].float() / 255


def _features() -> nn.Sequential:
    """Layers as torchvision's: activations in place."""
    return torchvision.models.vgg16(weights=None, init_weights=False).features


def save_weights(trunk: VGG16Trunk, path: Path) -> None:
    """Writes a file of torchvision's layout and size with the trunk's weights."""
    whole = torchvision.models.vgg16(weights=None, init_weights=False).state_dict()
    torch.save(whole | trunk.state_dict(), path)


class LibraryWay:
    """One figure after the other, image by image, each by its library's own call."""

    def __init__(self, trunk: VGG16Trunk, file: Path, kept: bool) -> None:
        layers = nn.Sequential(*trunk.features, nn.MaxPool2d(2))
        self.fake = types.SimpleNamespace(vgg16=lambda **_: types.SimpleNamespace(features=layers))
        self.file = file
        with mock.patch.object(lpips.pretrained_networks, "tv", self.fake):
            self.lpips = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
        self.kept = self._build() if kept else None

    def _build(self) -> nn.Module:
        with mock.patch.object(dists_module, "vgg16", self._vgg16):
            return dists_module.DISTSNetwork(load_weights=True).eval()

    def _vgg16(self, **_: Any) -> nn.Module:
        """torchvision's with the file's weights, as it builds it, but without asking the hub."""
        network = torchvision.models.VGG(_features(), init_weights=False)
        network.load_state_dict(torch.load(self.file, map_location="cpu", weights_only=True))
        return network

    def __call__(self, folder: Path) -> dict[str, float]:
        measured: dict[str, Callable[[Path, Path], float]] = {
            "psnr": self._psnr,
            "ssim": self._ssim,
            "lpips": self._lpips,
            "dists": self._dists,
        }
        names = sorted(path.name for path in (folder / "hq").iterdir())
        with torch.inference_mode():
            return {
                key: float(
                    np.mean([one(folder / "restored" / n, folder / "hq" / n) for n in names])
                )
                for key, one in measured.items()
            }

    def _psnr(self, restored: Path, target: Path) -> float:
        return float(cv2.PSNR(cv2.imread(str(restored)), cv2.imread(str(target))))

    def _ssim(self, restored: Path, target: Path) -> float:
        pair = (_read(each) for each in (restored, target))
        return float(structural_similarity_index_measure(*pair, data_range=1.0))  # type: ignore[arg-type]

    def _lpips(self, restored: Path, target: Path) -> float:
        return float(self.lpips(_read(restored) * 2 - 1, _read(target) * 2 - 1))

    def _dists(self, restored: Path, target: Path) -> float:
        network = self.kept or self._build()
        return float(network(_read(restored), _read(target)))


def our_way(folder: Path, settings: SuiteSettings, batch: int) -> dict[str, float]:
    """The evaluation's own path, with nothing known before."""
    columns = ("psnr", "ssim", "lpips", "dists")
    pairs = find_pairs(folder / "restored", folder / "hq", None)
    with tempfile.TemporaryDirectory() as cache:
        plan = make_plan(pairs.items, columns, settings, Comparison(), Path(cache), batch)
        return processes.measure(plan, "cpu", 1, progress=False).values


def main(argv: list[str] | None = None) -> None:
    """Measures and prints both ways."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=8, help="pairs of images at 512 (8)")
    parser.add_argument("--batch", type=int, default=4, help="images at once in ours (4)")
    parser.add_argument("--kept", action="store_true", help="keep the library's DISTS network")
    arguments = parser.parse_args(argv)
    if min(arguments.images, arguments.batch) < 1:
        parser.error("--images and --batch are at least 1")
    torch.manual_seed(0)
    where = device_name(torch.device("cpu"))
    print(f"{where}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder, arguments.images)
        trunk = VGG16Trunk("max").eval()
        save_weights(trunk, folder / "random.pth")
        settings = SuiteSettings(perceptual=str(folder / "random.pth"))
        theirs = LibraryWay(trunk, folder / "random.pth", arguments.kept)
        ways: dict[str, Any] = {
            "library": lambda: theirs(folder),
            "ours": lambda: our_way(folder, settings, arguments.batch),
        }
        took, figures = {}, {}
        for key, way in ways.items():
            start = time.perf_counter()
            figures[key] = way()
            took[key] = time.perf_counter() - start
    print(f"{arguments.images} pairs at {RESOLUTION}, VGG16 with random weights, one run each")
    print("| way | s/image | " + " | ".join(figures["ours"]) + " |")
    print("|---|---|" + "---|" * len(figures["ours"]))
    for key, values in figures.items():
        row = " | ".join(f"{values[name]:.6f}" for name in figures["ours"])
        print(f"| {key} | {took[key] / arguments.images:.2f} | {row} |")
    print(f"\nratio {took['library'] / took['ours']:.2f}")


if __name__ == "__main__":
    main()
