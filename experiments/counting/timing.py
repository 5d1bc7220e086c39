"""Time and peak memory of restoring a picture on the device at hand."""

import resource
import statistics
import sys
import time
from typing import Any

import torch

from osdface.devices import device_name
from osdface.errors import UserError
from osdface.networks.generator import OneStepGenerator
from osdface.restorer import Restorer


def _peak_bytes(device: torch.device) -> tuple[int, str]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "tensors on the GPU"
    # Linux counts in KiB, macOS in bytes. There is no way to start this counter anew.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, "whole process, libraries included"


def measure(
    generator: OneStepGenerator,
    resolution: int,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    repeats: int,
) -> dict[str, Any]:
    """Times :meth:`Restorer.restore` on random pictures, from tensor to tensor.

    Args:
        generator: On ``device``.
        resolution: Side of the pictures in pixels.
        device: Where it runs.
        dtype: Of UNet and VAE.
        batch: Pictures at once.
        repeats: Timed runs after one to warm up.

    Returns:
        ``seconds_per_image`` (median), ``peak_memory_bytes`` and what they were measured on.
    """
    restorer = Restorer(generator, resolution, device, dtype)
    source = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, resolution, resolution, generator=source) * 2 - 1
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    took = []
    try:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            restorer.restore(images, batch_size=batch)  # ends on the CPU: it waits for the device
            took.append(time.perf_counter() - start)
    except torch.OutOfMemoryError as error:
        raise UserError(f"batch={batch} does not fit into the memory of {device}.") from error
    peak, kind = _peak_bytes(device)
    return {
        "seconds_per_image": statistics.median(took[1:]) / batch,
        "peak_memory_bytes": peak,
        "peak_memory_of": kind,
        "device": device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "dtype": str(dtype).removeprefix("torch."),
        "batch": batch,
        "repeats": repeats,
        "torch": torch.__version__,
    }
