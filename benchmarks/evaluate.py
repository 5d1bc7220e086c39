"""Measuring restored images: ours against each library's own call, image by image.

    python -m benchmarks.evaluate
    python -m benchmarks.evaluate --images 16 --kept --clock cpu

The paired suite with networks of full size and random weights; NIQE, MUSIQ and FID are left out,
because their parameters are files of others. ``library`` is each library's own call
(:mod:`benchmarks.library_scores`); torchmetrics' DISTS builds VGG16 anew and reads its file each
time, with ``--kept`` once, which is kinder. ``cold`` is ours with nothing known, ``warm`` ours for
another method's images against the same originals. The ways take turns, a batch each. Time by
image does not depend on how many there are; loading the networks is told apart, and the last line
is for 1,000 images.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.library_scores import VGG, LibraryWay, save_weights
from experiments.evaluation.images import FolderImage
from experiments.evaluation.pairing import Item
from experiments.evaluation.planning import Comparison, make_plan
from experiments.evaluation.work import Worker
from osdface.devices import device_name
from osdface.metrics.suites import SuiteSettings

RESOLUTION, WHOLE = 512, 1000
FIGURES = ("psnr", "ssim", "lpips", "dists", "deg", "lmd")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def make_images(folder: Path, count: int) -> None:
    """Writes ``hq``: smooth random pictures; ``restored`` and ``other``: the same with noise."""
    random = np.random.default_rng(0)
    for number in range(count):
        small = random.integers(0, 256, (RESOLUTION // 8, RESOLUTION // 8, 3), dtype=np.uint8)
        image = cv2.resize(small, (RESOLUTION, RESOLUTION), interpolation=cv2.INTER_CUBIC)
        for name, noise in (("hq", 0), ("restored", 8), ("other", 9)):
            noisy = np.clip(image + random.normal(0, noise, image.shape), 0, 255)
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / name / f"{number:04d}.png")


class OurWay:
    """The evaluation's own path, a block of images at a time."""

    def __init__(self, folder: Path, figures: tuple[str, ...], batch: int) -> None:
        self.folder, self.figures, self.batch = folder, figures, batch
        self.settings = SuiteSettings(perceptual=str(folder / VGG), weights_dir=str(folder))

    def worker(self, name: str, numbers: Sequence[int], cache: str) -> Worker:
        """Returns what measures some images of ``name``; what it learns is kept in ``cache``."""
        items = []
        for number in numbers:
            paths = (self.folder / each / f"{number:04d}.png" for each in (name, "hq"))
            items.append(Item(f"{number:04d}", *map(FolderImage, paths)))
        place = self.folder / cache
        return Worker(
            make_plan(items, self.figures, self.settings, Comparison(), place, self.batch)
        )


class Stopwatch:
    """Seconds by name, each a sum over blocks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.spent = clock, dict[str, float]()

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        start = self.clock()
        found = call()
        self.spent[name] = self.spent.get(name, 0.0) + self.clock() - start
        return found


def measure(arguments: argparse.Namespace, folder: Path) -> tuple[Stopwatch, dict[str, Any]]:
    """Times the ways in turns; returns seconds by way, and figure -> values by way."""
    figures = tuple(arguments.figures.split(","))
    make_images(folder, arguments.images)
    trunk = save_weights(folder)
    watch = Stopwatch(CLOCKS[arguments.clock])
    theirs = watch("load library", lambda: LibraryWay(folder, trunk, arguments.kept))
    ours = OurWay(folder, figures, arguments.batch)
    watch("load ours", lambda: ours.worker("restored", [0], "unused"))
    found: dict[str, Any] = {way: {name: [] for name in figures} for way in ("library", "cold")}
    for start in range(0, arguments.images, arguments.batch):
        numbers = range(start, min(start + arguments.batch, arguments.images))
        pairs = [
            [folder / name / f"{number:04d}.png" for number in numbers]
            for name in ("restored", "hq")
        ]
        block = watch("library", lambda pairs=pairs: theirs(*pairs, figures))
        cold = ours.worker("restored", numbers, f"cache-{start}")
        rows = watch("cold", lambda worker=cold: worker.run(lambda _: None)).rows
        warm = ours.worker("other", numbers, f"cache-{start}")
        watch("warm", lambda worker=warm: worker.run(lambda _: None))
        for name in figures:
            found["library"][name] += block[name]
            found["cold"][name] += [rows[key][name] for key in sorted(rows)]
    return watch, found


def main(argv: list[str] | None = None) -> None:
    """Measures and prints all ways."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=8, help="pairs of images at 512 (8)")
    parser.add_argument("--batch", type=int, default=4, help="images at once in ours (4)")
    parser.add_argument("--figures", default=",".join(FIGURES), help=f"some of {FIGURES}")
    parser.add_argument("--kept", action="store_true", help="keep the library's DISTS network")
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu: on a busy machine")
    arguments = parser.parse_args(argv)
    if min(arguments.images, arguments.batch) < 1:
        parser.error("--images and --batch are at least 1")
    if not set(arguments.figures.split(",")) <= set(FIGURES):
        parser.error(f"--figures are some of {','.join(FIGURES)}")
    torch.manual_seed(0)
    where = device_name(torch.device("cpu"))
    print(f"{where}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        watch, found = measure(arguments, Path(name))
    report(watch.spent, found, arguments)


def report(spent: dict[str, float], found: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Prints the table and the ratios."""
    kept = ", the library's DISTS network kept" if arguments.kept else ""
    print(f"{arguments.images} pairs at {RESOLUTION}, {arguments.clock} time, one run each{kept}")
    names = arguments.figures.split(",")
    print("| way | loading, s | s/image | " + " | ".join(names) + " |")
    print("|---|---|---|" + "---|" * len(names))
    whole = {}
    for way in ("library", "cold", "warm"):
        loading = spent["load library" if way == "library" else "load ours"]
        each = spent[way] / arguments.images
        whole[way] = loading + WHOLE * each
        figures = [f"{np.mean(found[way][n]):.6f}" if way in found else "" for n in names]
        print(f"| {way} | {loading:.1f} | {each:.2f} | " + " | ".join(figures) + " |")
    ratios = [f"{way} {whole['library'] / whole[way]:.2f}" for way in ("cold", "warm")]
    print(f"\nratio for {WHOLE} images: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
