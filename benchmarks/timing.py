"""What the benchmarks share: clocks that wait for the device, its name, its real peak."""

import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

Clock = Callable[[], float]


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(call: Callable[[], object], device: torch.device, clock: Clock | None = None) -> float:
    """Returns how long one call takes, the device's work included."""
    clock = clock or time.perf_counter
    synchronize(device)
    start = clock()
    call()
    synchronize(device)
    return clock() - start


def in_turns(
    ways: dict[str, Callable[[], object]],
    device: torch.device,
    runs: int,
    warm_up: int = 1,
    clock: Clock | None = None,
) -> dict[str, float]:
    """Returns the median seconds of each way; they take turns, so that a busy moment hits all.

    ``clock``: default wall time; ``time.process_time`` on a CPU that others use too.
    """
    for _ in range(warm_up):
        for call in ways.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, call in ways.items():
            times[name].append(seconds(call, device, clock))
    return {name: statistics.median(own) for name, own in times.items()}


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


def peak_of(step: Callable[[], object], device: torch.device) -> float:
    """Returns the MiB that tensors take at the peak of a call.

    On a GPU all tensors there, weights included. On the CPU those that the call itself allocates,
    read off torch's profiler: weights and optimizer state do not count.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in changes), default=0) / 2**20


def memory_of_processes() -> float:
    """Returns the MiB that this process and its children hold, shared pages once (Linux)."""
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    total = 0
    for process in processes:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024
