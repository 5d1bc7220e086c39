"""From a data set and a sampler to a loader with worker processes."""

import signal
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.samplers import Draw


def init_worker(_: int) -> None:
    """Prepares a loader's worker: one thread, and deaf to the signals that Slurm sends a job.

    A forked worker inherits the trainer's handlers and would save and requeue too.
    """
    cv2.setNumThreads(1)
    for name in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)


def batch_loader(
    dataset: Dataset[dict[str, Any]],
    sampler: Sampler[list[Draw]],
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[dict[str, Any]]:
    """Returns a loader of the sampler's batches; its workers live as long as the loader."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        worker_init_fn=init_worker,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
    )
