"""A plan measured in this process, or shared out among several that add up over gloo."""

import multiprocessing
import os
import queue
import signal
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.evaluation.plan import Measured, Plan
from experiments.evaluation.work import Worker
from osdface.devices import default_device
from osdface.errors import UserError

_POLL_S = 0.5
_PATIENCE_S = 10
_LINES = 10


class Progress:
    """A bar on a terminal, else a line at every tenth."""

    def __init__(self, total: int, shown: bool) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.lines = shown and not sys.stderr.isatty()
        self.bar = tqdm(
            total=total, desc="measuring", unit="image", disable=self.lines or not shown
        )

    def add(self, count: int) -> None:
        before, self.done = self.done, self.done + count
        self.bar.update(count)
        if self.lines and self.done * _LINES // self.total > before * _LINES // self.total:
            spent = time.monotonic() - self.start
            left = spent / self.done * (self.total - self.done)
            print(
                f"{self.done}/{self.total} images, {spent:.0f} s spent, {left:.0f} s left",
                flush=True,
            )

    def close(self) -> None:
        self.bar.close()


def devices_of(device: str | None, processes: int) -> list[str]:
    """Returns the device of each process.

    Raises:
        UserError: There is no such device, or not so many GPUs.
    """
    # Only here: the processes that share the images import this module too, in seconds.
    from experiments.cli.devices import named_device

    named, count = named_device(device)
    chosen = named or default_device()
    if chosen.type != "cuda" or processes == 1:
        return [str(chosen)] * processes
    if chosen.index is not None or processes > count:
        raise UserError(f"processes={processes} wants as many GPUs, and here are {count}.")
    return [f"cuda:{index}" for index in range(processes)]


def measure(plan: Plan, device: str | None, processes: int, progress: bool) -> Measured:
    """Measures a plan; the figures do not depend on how many processes share it.

    Raises:
        UserError: A weight file or library is missing, or a process died.
    """
    processes = min(processes, len(plan.items))
    devices = devices_of(device, processes)
    bar = Progress(len(plan.items) + len(plan.further), progress)
    try:
        if processes == 1:
            return Worker(replace(plan, device=devices[0])).run(bar.add)
        return _shared(plan, devices, bar)
    finally:
        bar.close()


def _shared(plan: Plan, devices: list[str], bar: Progress) -> Measured:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        processes: Any = [
            context.Process(
                target=_work,
                args=(replace(plan, device=device), rank, len(devices), store, results),
                daemon=True,
            )
            for rank, device in enumerate(devices)
        ]
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process ends them
        try:
            for process in processes:
                process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        try:
            return _merged(_collected(processes, results, bar))
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(_PATIENCE_S)


def _collected(processes: Any, results: Any, bar: Progress) -> list[Measured]:
    found: dict[int, Measured] = {}
    while len(found) < len(processes):
        dead = [p.exitcode for p in processes if not p.is_alive() and p.exitcode]
        try:
            told = results.get(timeout=_POLL_S)
        except queue.Empty:
            if dead:
                why = "its last lines stand above" if dead[0] > 0 else "memory may have run out"
                raise UserError(
                    f"A process ended with exit status {dead[0]}: {why}. What was measured is "
                    "kept: repeat the command, with fewer processes= or batch=."
                ) from None
            continue
        if isinstance(told, UserError):
            raise told
        if isinstance(told, int):
            bar.add(told)
        else:
            found[told[0]] = told[1]
    return [found[rank] for rank in sorted(found)]


def _merged(parts: list[Measured]) -> Measured:
    """The figures are the same in all parts; rows are each part's own."""
    whole = parts[0]
    for part in parts[1:]:
        whole.rows |= part.rows
        for kind, told in part.faults.items():
            whole.faults.setdefault(kind, []).extend(told)
    return whole


def _work(plan: Plan, rank: int, world: int, store: str, results: Any) -> None:
    import torch
    from torch import distributed

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    try:
        # Whoever is done first waits for the others, and that may take hours.
        distributed.init_process_group(
            "gloo", f"file://{store}", timedelta(days=7), world_size=world, rank=rank
        )
        measured = Worker(plan, rank, world).run(results.put)
        if rank:
            measured.statistics = {}  # the same as the first one's, and large
        results.put((rank, measured))
        distributed.barrier()
        distributed.destroy_process_group()
    except UserError as error:
        results.put(error)
