"""Where the time of a restoration goes, beside what the device could do at best."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.restore_sizes import build_generator
from benchmarks.timing import in_turns, matrix_peak
from osdface.deploy.pipeline import RestorationPipeline
from osdface.image_inputs import as_inputs, fit, to_bytes
from osdface.restorer import Restorer

Part = Callable[[], Any]


def network_parts(pipeline: Any, images: torch.Tensor, exact: bool) -> dict[str, Part]:
    """Returns the parts of a pipeline as functions of fixed inputs of the right shapes."""
    generator, dtype = pipeline.generator, pipeline.dtype
    source, codec = generator.prompt_source, generator.codec
    channels, height, width = codec.latent_shape(images)
    latent = images.new_zeros(len(images), channels, height, width, dtype=dtype)
    dim = source.embedder.config.embedding_dim
    entries = images.new_zeros(len(images), source.embedder.count, dim)
    return {
        "VRE, entries": lambda: pipeline.entries(images, together=not exact),
        "VAE encode": lambda: codec.encode(images.to(dtype)),
        "prompt, UNet, x0": lambda: generator.restore_latent(
            latent, source.from_entries(entries).to(dtype)
        ),
        "VAE decode": lambda: codec.decode(latent),
    }


def counted_gmacs(size: str) -> dict[str, float]:
    """Counts each part's multiply-adds for one image, attention products included, in 10**9."""
    with torch.device("meta"):
        generator, resolution = build_generator(size)
        images = torch.zeros(1, 3, resolution, resolution)
    parts = network_parts(RestorationPipeline(generator), images, exact=True)
    found = {}
    with torch.no_grad():
        for name, call in parts.items():
            with FlopCounterMode(display=False) as counter:
                call()
            found[name] = counter.get_total_flops() / 2 / 1e9
    return found


def _around(restorer: Restorer, batch: int) -> Part:
    """What happens outside the networks: bytes to tensors on the device and back."""
    side = restorer.resolution
    images = list(np.zeros((batch, side, side, 3), np.uint8))

    def call() -> list[np.ndarray]:
        tensors = [fit(each.tensor, side) for each in as_inputs(images)]
        there = torch.cat(tensors).to(restorer.device)
        return [to_bytes(each) for each in there.cpu()]

    return call


def print_parts(
    restorer: Restorer, size: str, batch: int, arguments: argparse.Namespace, device: torch.device
) -> None:
    """Measures and prints a row for every part of a batch, eager whatever the comparison was."""
    gmacs = counted_gmacs(size)
    side = restorer.resolution
    images = torch.rand(batch, 3, side, side).to(device) * 2 - 1
    parts = {
        **network_parts(restorer.pipeline, images, restorer.exact),
        "to tensors and back": _around(restorer, batch),
    }
    with torch.inference_mode():
        took = in_turns(parts, device, arguments.runs, arguments.warm_up)
        peak = matrix_peak(device, restorer.dtype)
    print(f"batch {batch}, eager; matrix product in {arguments.dtype}: {peak / 1e12:.2f} TFLOP/s")
    print("| part | GMACs an image | ms a batch | share of the time | at the peak, ms |")
    print("|---|---|---|---|---|")
    whole = sum(took.values())
    for name, seconds in took.items():
        work = gmacs.get(name, 0.0)
        floor = 2e9 * work * batch / peak
        row = f"{work:.1f} | {seconds * 1e3:.1f} | {seconds / whole:.0%} | {floor * 1e3:.1f}"
        print(f"| {name} | {row} |", flush=True)
    total = sum(gmacs.values())
    floor = 2e9 * total * batch / peak
    print(f"| all | {total:.1f} | {whole * 1e3:.1f} | 100% | {floor * 1e3:.1f} |", flush=True)
