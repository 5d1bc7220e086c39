"""Measuring restored images: ours against each library's own call, image by image.

    python -m benchmarks.evaluate
    python -m benchmarks.evaluate --images 8 --weights-dir WEIGHTS

The paired suite: PSNR, SSIM, LPIPS and DISTS on VGG16 with random weights of its size, and NIQE
where ``--weights-dir`` has its parameters. The other way reads both images for every figure, as
each library's own script does: OpenCV's PSNR, torchmetrics' SSIM, lpips.LPIPS, and torchmetrics' DISTS.
Its DISTS builds a new network on every call; with ``--kept`` one is kept, which is kinder to it
than its own call. Both ways are timed in turns, on the same threads.
"""

import argparse
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
from PIL import Image
from torch import Tensor, nn
from torchmetrics.functional.image import dists as dists_module
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.timing import machine
from experiments.evaluation import processes
from experiments.evaluation.pairing import find_pairs
from experiments.evaluation.planning import Comparison, make_plan
from osdface.metrics.suites import SuiteSettings
from osdface.networks.vgg16 import VGG16Trunk

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


class LibraryWay:
    """One figure after the other, image by image, each by its library's own call."""

    def __init__(self, trunk: VGG16Trunk, kept: bool) -> None:
        layers = nn.Sequential(*trunk.features, nn.MaxPool2d(2))
        self.fake = types.SimpleNamespace(
            vgg16=lambda **_: types.SimpleNamespace(features=layers)
        )
        with mock.patch.object(lpips.pretrained_networks, "tv", self.fake):
            self.lpips = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
        self.network = dists_module.DISTSNetwork
        self.kept = self._build() if kept else None

    def _build(self) -> nn.Module:
        with mock.patch("torchvision.models.vgg16", self.fake.vgg16):
            return self.network(load_weights=True).eval()

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
                key: float(np.mean([one(folder / "restored" / n, folder / "hq" / n) for n in names]))
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
    print(f"{machine(torch.device('cpu'))}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder, arguments.images)
        trunk = VGG16Trunk("max").eval()
        torch.save(trunk.state_dict(), folder / "random.pth")
        settings = SuiteSettings(perceptual=str(folder / "random.pth"))
        theirs = LibraryWay(trunk, arguments.kept)
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
