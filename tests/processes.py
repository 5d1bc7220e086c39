"""Real processes that talk over gloo, for tests of what ranks do together."""

import datetime
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed

# Imported once, by the server that the processes are forked from: it has no threads yet.
_PRELOADED = [
    "torch",
    "lightning",
    "lightning_modules.distillation",
    "lightning_modules.association",
]


def run_ranks(work: Callable[..., None], count: int, *arguments: Any) -> None:
    """Runs ``work(rank, *arguments)`` in ``count`` processes; raises what one of them raises."""
    multiprocessing.set_forkserver_preload(_PRELOADED)
    torch.multiprocessing.start_processes(work, arguments, nprocs=count, start_method="forkserver")


@contextmanager
def process_group(store: Path, rank: int, world_size: int) -> Iterator[None]:
    """Joins a gloo group that meets at the file ``store``; a rank that waits 90 s fails."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world_size,
        timeout=datetime.timedelta(seconds=90),
    )
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
