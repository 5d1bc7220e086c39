"""The pictures in this process, or shared out among several, one a GPU."""

import multiprocessing
import os
import queue
import signal
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from experiments.cli.devices import named_device
from experiments.restoring.options import Options
from experiments.restoring.outcomes import Outcome
from experiments.restoring.photos import Photo
from experiments.restoring.work import Workshop
from osdface.errors import UserError

_POLL_S = 0.5
_PATIENCE_S = 30


def devices_of(options: Options) -> list[str | None]:
    """Returns the device of each process.

    Raises:
        UserError: There are not so many, or no such device.
    """
    named, count = named_device(options.device)
    wants_gpu = named.type == "cuda" if named else count > 0
    if options.devices == 1:
        return [options.device]
    if not wants_gpu:
        return [options.device or "cpu"] * options.devices
    if named and named.index is not None:
        raise UserError(f"device={options.device} is one GPU: leave it out with devices=.")
    if options.devices > count:
        raise UserError(f"devices={options.devices} is too many: this machine has {count} GPUs.")
    return [f"cuda:{index}" for index in range(options.devices)]


def restore_all(options: Options, photos: Sequence[Photo]) -> Generator[Outcome]:
    """Restores all pictures, in any order.

    Raises:
        UserError: A checkpoint or weight file is missing or does not fit.
    """
    devices = devices_of(options)[: max(1, len(photos))]
    if len(devices) == 1:
        yield from Workshop(options, devices[0]).work(photos)
        return
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    stop: Any = context.Event()
    shares = [photos[number :: len(devices)] for number in range(len(devices))]
    processes = [
        context.Process(
            target=_work, args=(options, device, len(devices), share, results, stop), daemon=True
        )
        for device, share in zip(devices, shares, strict=True)
    ]
    _start(processes)
    try:
        yield from _collected(processes, shares, results)
    finally:
        stop.set()
        for process in processes:
            process.join(_PATIENCE_S)
            if process.is_alive():
                process.terminate()


def _start(processes: Any) -> None:
    """Starts them deaf to Ctrl-C, which reaches every process of a terminal.

    This process tells them to stop; so none ends in the middle of a picture, or with a traceback.
    """
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for process in processes:
            process.start()
    finally:
        signal.signal(signal.SIGINT, handler)


def _collected(processes: Any, shares: Any, results: Any) -> Iterator[Outcome]:
    """Outcomes as they come; a process that dies leaves its pictures as failed."""
    left = sum(map(len, shares))
    seen: set[Any] = set()
    while left:
        ended = all(not process.is_alive() for process in processes)
        try:
            found = results.get(timeout=_POLL_S)
        except queue.Empty:
            if ended:
                break
            continue
        if isinstance(found, UserError):
            raise found
        seen.add(found.source)
        left -= 1
        yield found
    for process, share in zip(processes, shares, strict=True):
        for photo in share:
            if photo.source not in seen:
                process.join()
                why = f"its process ended with exit status {process.exitcode}"
                yield Outcome(photo.source, error=f"{photo.source}: {why}")


def _work(
    options: Options, device: str, count: int, photos: Sequence[Photo], results: Any, stop: Any
) -> None:
    """What each process does; its outcomes, or the UserError that ends it, go to ``results``."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    try:
        for outcome in Workshop(options, device).work(photos):
            results.put(outcome)
            if stop.is_set():
                break
    except UserError as error:
        results.put(error)
