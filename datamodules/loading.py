"""From a data set and a sampler to a loader with worker processes."""

import multiprocessing
import os
import signal
import threading
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.samplers import Draw

# Slurm sends them to every process of a job, workers included.
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


def init_worker(_: int) -> None:
    """Prepares a loader's worker: one thread, and deaf to the signals that Slurm sends a job.

    A forked worker inherits the trainer's handlers and would save and requeue too; one that died
    of SIGTERM would take the trainer along before it has saved.
    """
    cv2.setNumThreads(1)
    for name in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_end_with_trainer, daemon=True).start()


def _end_with_trainer() -> None:
    """Obeys SIGTERM where the trainer sends it, as PyTorch does to a worker that hangs."""
    parent = multiprocessing.parent_process()
    while parent is not None:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent.pid:
            os._exit(0)


class BatchLoader(DataLoader[dict[str, Any]]):
    """A loader whose workers are deaf from their first instruction on."""

    def __iter__(self) -> Any:
        # A worker inherits what is blocked here; what arrives meanwhile comes through afterwards.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def batch_loader(
    dataset: Dataset[dict[str, Any]],
    sampler: Sampler[list[Draw]],
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[dict[str, Any]]:
    """Returns a loader of the sampler's batches; its workers live as long as the loader.

    It draws nothing from the global random state, which a resumed run would then draw once more.
    """
    return BatchLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        worker_init_fn=init_worker,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )
