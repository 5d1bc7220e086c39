"""What the benchmarks share: clocks that wait for the device, its name, its real peak."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Returns how long one call takes, the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def in_turns(
    ways: dict[str, Callable[[], object]], device: torch.device, runs: int, warm_up: int = 1
) -> dict[str, float]:
    """Returns the median seconds of each way; they take turns, so that a busy moment hits all."""
    for _ in range(warm_up):
        for call in ways.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, call in ways.items():
            times[name].append(seconds(call, device))
    return {name: statistics.median(own) for name, own in times.items()}


def machine(device: torch.device) -> str:
    """Returns the processor's or GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """Returns the floating-point operations a second of a large matrix product, measured here."""
    side = side or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    took = in_turns({"product": lambda: a @ b}, device, runs=7, warm_up=3)["product"]
    return 2 * side**3 / took


def peak_memory(device: torch.device) -> str:
    """Returns the most memory that tensors took since the last reset, GPU only."""
    if device.type != "cuda":
        return "-"
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"


def memory_of_processes() -> float:
    """Returns the MiB that this process and its children hold, shared pages once (Linux)."""
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    total = 0
    for process in processes:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024
