"""Restoring a face: images a second, against the released way, and where the time goes.

    python -m benchmarks.restore
    python -m benchmarks.restore --size sd21 --device cuda --dtype fp16 --cuda-graphs
    python -m benchmarks.restore --size sd21 --batches 1 --runs 1 --warm-up 0

Random weights of a scale's sizes. Both ways take uint8 pictures and give uint8 pictures, on the
same device, in the same precision, in one process and in turns; only their ratio in one run is
worth comparing. A batch of ours stands against as many calls of the released way, which
takes one image at a time (see ``benchmarks/released_way.py``).
"""

import argparse
import copy
import time
from typing import Any

import numpy as np
import torch

from benchmarks.released_way import ReleasedWay
from benchmarks.restore_parts import print_parts
from benchmarks.restore_sizes import SIZES, build_generator, with_lora
from benchmarks.timing import in_turns, peak_memory
from osdface.devices import device_name, usable_device
from osdface.errors import UserError
from osdface.networks.lora import merge_lora
from osdface.restorer import Restorer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pictures(resolution: int, count: int) -> list[np.ndarray]:
    """Returns random uint8 pictures (R, R, 3)."""
    generator = np.random.default_rng(0)
    return list(generator.integers(0, 256, (count, resolution, resolution, 3), np.uint8))


def build_ways(arguments: argparse.Namespace, device: torch.device) -> tuple[Restorer, ReleasedWay]:
    """Builds both ways from the same random weights.

    Merged and in float32 on the CPU they share their networks, which neither changes: the paper's
    size then takes 4 GB and not 8.
    """
    dtype = DTYPES[arguments.dtype]
    generator, resolution = build_generator(arguments.size)
    with_lora(generator)
    shared = arguments.lora == "merged" and dtype == torch.float32 and device.type == "cpu"
    other = generator if shared else copy.deepcopy(generator)
    if arguments.lora == "merged":
        merge_lora(other.unet)
    released = ReleasedWay(other, device, dtype)  # keeps the schedule in float64
    if not shared:
        merge_lora(generator.unet)
        torch.nn.Module.to(other.requires_grad_(False).eval(), device, dtype)
    options: dict[str, Any] = {"compile": arguments.compile, "cuda_graphs": arguments.cuda_graphs}
    restorer = Restorer(generator, resolution, device, dtype, exact=not arguments.fast, **options)
    return restorer, released


def difference(restorer: Restorer, released: ReleasedWay, image: np.ndarray) -> int:
    """Returns the largest difference of a byte between both ways, the posterior's mode in both."""
    sample, released.sample = released.sample, False
    found = released(image).astype(int) - restorer.restore(image).image
    released.sample = sample
    return int(np.abs(found).max())


def compare(
    restorer: Restorer, released: ReleasedWay, arguments: argparse.Namespace, device: torch.device
) -> None:
    """Measures and prints a row for every batch size."""
    print("| batch | ours, images/s | released way, images/s | ratio | first call, s | memory |")
    print("|---|---|---|---|---|---|")
    for batch in arguments.batches:
        images = pictures(restorer.resolution, batch)
        start = time.perf_counter()
        if arguments.warm_up:
            restorer.restore(images, batch)
        first = f"{time.perf_counter() - start:.1f}" if arguments.warm_up else "-"
        ways = {
            "ours": lambda images=images, batch=batch: restorer.restore(images, batch),
            "released": lambda images=images: [released(image) for image in images],
        }
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        took = in_turns(ways, device, arguments.runs, arguments.warm_up)
        row = f"{batch / took['ours']:.3g} | {batch / took['released']:.3g}"
        ratio = took["released"] / took["ours"]
        print(f"| {batch} | {row} | {ratio:.2f} | {first} | {peak_memory(device)} |", flush=True)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="tiny", help="of the networks (tiny)")
    parser.add_argument("--device", default="cpu", help="cpu, mps, cuda or cuda:N (default cpu)")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="of both ways (fp32)")
    parser.add_argument("--lora", choices=("merged", "unmerged"), default="merged",
                        help="in the released way; ours is always merged")  # fmt: skip
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 8), help="images a call")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each (default 5)")
    parser.add_argument(
        "--warm-up", type=int, default=1, help="untimed runs (1); 0: the first way pays"
    )
    parser.add_argument("--compile", action="store_true", help="compile ours")
    parser.add_argument("--cuda-graphs", action="store_true", help="ours as CUDA graphs")
    parser.add_argument("--fast", action="store_true", help="ours with exact=False")
    parser.add_argument("--no-parts", action="store_true", help="leave the table of parts out")
    arguments = parser.parse_args(argv)
    if min(*arguments.batches, arguments.runs, 1) < 1 or arguments.warm_up < 0:
        parser.error("--batches and --runs are at least 1, --warm-up at least 0")
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {arguments.device}: torch finds no GPU here")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Measures and prints the tables."""
    arguments = parse(argv)
    torch.manual_seed(0)
    try:
        device = usable_device(arguments.device, DTYPES[arguments.dtype])
        restorer, released = build_ways(arguments, device)
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
    resolution = restorer.resolution
    print(f"{device_name(device)}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    ours = [name for name in ("compile", "cuda_graphs", "fast") if getattr(arguments, name)]
    print(
        f"size {arguments.size} (random weights), {resolution} px, {device}, {arguments.dtype}; "
        f"ours: {', '.join(ours) or 'eager'}; released way: LoRA {arguments.lora}"
    )
    print(f"median of {arguments.runs} runs, in turns, {arguments.warm_up} to warm up")
    print()
    compare(restorer, released, arguments, device)
    if arguments.warm_up:  # after it, so that a first call is one
        apart = difference(restorer, released, pictures(resolution, 1)[0])
        print(f"\nlargest difference of both ways: {apart} of 255 (posterior's mode)")
    if not arguments.no_parts:
        print()
        print_parts(restorer, arguments.size, max(arguments.batches), arguments, device)


if __name__ == "__main__":
    main()
