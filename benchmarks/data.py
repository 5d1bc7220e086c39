"""Data: degradation, loading, start and resume, and memory.

    python -m benchmarks.data degradation
    python -m benchmarks.data loading
    python -m benchmarks.data start
    python -m benchmarks.data memory

``--images DIR`` takes photographs instead of drawn portraits. Degradation and loading are held
against the plain way (benchmarks/plain_data.py), in turns in one process: the ratio of one run is
what is worth comparing. ``start`` and ``memory`` write shards of a few hundred MB below ``--work``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from benchmarks.plain_data import PlainDataset, plain_degrade
from benchmarks.timing import memory_of_processes
from datamodules.faces import FaceDataModule
from datamodules.folders import find_images
from datamodules.portraits import render_portrait
from datamodules.shards import write_shards
from datamodules.shards.index_file import write_index
from experiments.data_tools.preparing import encode, load_square
from osdface.degradation import apply, build_degradation, rng_for, sample_parameters
from osdface.devices import device_name

Images = list[NDArray[np.uint8]]


def degradation(images: Images, preset: str, runs: int) -> None:
    """Prints milliseconds of CPU time an image of both ways, and how far they are apart."""
    settings = build_degradation(preset)
    draws = [sample_parameters(settings, rng_for(0, 0, str(n), "parameters")) for n in range(60)]
    means: dict[str, list[float]] = {"plain": [], "ours": []}
    apart = []
    for _ in range(runs):
        took = dict.fromkeys(means, 0.0)
        for number, (parameters, image) in enumerate(zip(draws, cycle(images), strict=False)):
            results = []
            for name, way in (("plain", plain_degrade), ("ours", apply)):
                start = time.process_time()
                results.append(way(image, parameters, np.random.default_rng(number)))
                took[name] += time.process_time() - start
            apart.append(np.abs(results[0].astype(int) - results[1]))
        for name, own in means.items():
            own.append(took[name] / len(draws) * 1e3)
    plain, ours = (statistics.median(own) for own in means.values())
    worst = max(int(each.max()) for each in apart)
    same = sum(int(each.max() == 0) for each in apart) / len(apart)
    print("| preset | plain, ms | ours, ms | ratio | largest difference, 1/255 | images equal |")
    print("|---|---|---|---|---|---|")
    print(f"| {preset} | {plain:.1f} | {ours:.1f} | {plain / ours:.2f} | {worst} | {same:.0%} |")


def loading(images: Images, preset: str, runs: int, work: Path) -> None:
    """Prints images a second of both ways with two loader processes."""
    encoded = [encode(image, "jpg") for image in images]
    samples = [(f"{n:06d}", encoded[n % len(encoded)], {}) for n in range(640)]
    write_shards(samples, work / "shards", "train", 80)
    folder = work / "files"
    folder.mkdir()
    for key, data, _ in samples:
        (folder / f"{key}.jpg").write_bytes(data)
    side = images[0].shape[0]
    ours = FaceDataModule(
        "shards", urls=f"{work}/shards/*.tar", resolution=side, batch_size=8, num_workers=2,
        degradation=preset, val_count=8, identity_from="none",
    )  # fmt: skip
    dataset = PlainDataset(find_images(folder), build_degradation(preset))
    plain = DataLoader(dataset, 8, shuffle=True, drop_last=True, num_workers=2)
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(runs):
        for name, loader in (("plain", plain), ("ours", ours.train_dataloader())):
            batches = iter(loader)
            next(batches)
            start = time.perf_counter()
            count = sum(len(batch["key"]) for batch in islice(batches, 40))
            rates[name].append(count / (time.perf_counter() - start))
            del batches
    plain_rate, own_rate = (statistics.median(own) for own in rates.values())
    print("| way | images/s, two processes | ratio |\n|---|---|---|")
    print(f"| files, plain Dataset | {plain_rate:.1f} | 1 |")
    print(f"| shards, FaceDataModule | {own_rate:.1f} | {own_rate / plain_rate:.2f} |")


def many_shards(images: Images, work: Path, shards: int, index: bool) -> str:
    """Writes shards of 1000 samples, the images over and over; returns their pattern."""
    encoded = [encode(image, "jpg") for image in images]
    samples = ((f"{n:06d}", encoded[n % len(encoded)], {}) for n in range(1000 * shards))
    manifest = write_shards(samples, work, "train", 1000)
    for shard in manifest["splits"]["train"]["shards"] if index else ():
        write_index(work / shard["name"], shard["sha256"])
    return f"{work}/train-*.tar"


def start(images: Images, preset: str, work: Path, shards: int) -> None:
    """Prints the time to the first batch over many shards, and after a resume in mid-epoch."""
    print(f"{shards} shards of 1000, two loader processes; files in the page cache\n")
    print("| index files | first batch, s | first batch after a resume, s |\n|---|---|---|")
    for index in (True, False):
        urls = many_shards(images, work / f"index-{index}", shards, index)
        row = []
        for done in (0, 1000 * shards // 16):
            begin = time.perf_counter()
            data = module(urls, images, preset)
            data.sampler.set_start(done)
            next(iter(data.train_dataloader()))
            row.append(f"{time.perf_counter() - begin:.2f}")
        print(f"| {'yes' if index else 'no'} | {' | '.join(row)} |", flush=True)


def memory(images: Images, preset: str, work: Path) -> None:
    """Prints the memory of all processes while 20,000 samples are loaded."""
    data = module(many_shards(images, work, 4, True), images, preset)
    batches: Iterator[Any] = iter(data.train_dataloader())
    print("| samples | memory of all processes, MiB |\n|---|---|")
    for count in (400, 5000, 10000, 15000, 20000):
        while data.sampler.batches_done * 8 < count:
            next(batches)
            data.batch_finished()
        print(f"| {count} | {memory_of_processes():.0f} |", flush=True)


def module(urls: str, images: Images, preset: str) -> FaceDataModule:
    """Returns the data module that ``start`` and ``memory`` measure."""
    return FaceDataModule(
        "shards", urls=urls, resolution=images[0].shape[0], batch_size=8, num_workers=2,
        degradation=preset, val_count=8, identity_from="none",
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("degradation", "loading", "start", "memory"))
    parser.add_argument("--images", type=Path, help="folder of pictures; default: drawn portraits")
    parser.add_argument("--resolution", type=int, default=512, help="pixels a side (default 512)")
    parser.add_argument("--preset", default="waveface", help="(default waveface)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each way (default 5)")
    parser.add_argument("--shards", type=int, default=70, help="start: how many (default 70)")
    parser.add_argument("--work", type=Path, help="where shards are written (default: temporary)")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    side = arguments.resolution
    if arguments.images:
        images = [load_square(path, side) for path in find_images(arguments.images)[:64]]
    else:
        images = [render_portrait(0, number, 0, side).image for number in range(24)]
    print(f"{device_name(torch.device('cpu'))}; torch {torch.__version__}; {len(images)} images")
    print(f"{side} px, preset {arguments.preset}\n")
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = Path(folder)
        if arguments.part == "degradation":
            degradation(images, arguments.preset, arguments.runs)
        elif arguments.part == "loading":
            loading(images, arguments.preset, arguments.runs, work)
        elif arguments.part == "start":
            start(images, arguments.preset, work, arguments.shards)
        else:
            memory(images, arguments.preset, work)


if __name__ == "__main__":
    main()
