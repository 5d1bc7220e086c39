"""Seconds of training alone: what a budget of time is counted in."""

import time

import torch
from torch import distributed


class TrainingClock:
    """Adds up the time from one finished batch to the next, waiting for data included.

    Validation, writing checkpoints and whatever lies before the first batch are left out: call
    :meth:`pause` where they begin and end. All methods are cheap.

    Attributes:
        seconds: So far, over all resumes.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._mark: float | None = None

    def tick(self) -> None:
        """Adds the time since the last call; after a pause it begins anew."""
        now = time.perf_counter()
        if self._mark is not None:
            self.seconds += now - self._mark
        self._mark = now

    def pause(self) -> None:
        """Leaves out the time until the next call of :meth:`tick`."""
        self._mark = None

    def agree(self, device: torch.device) -> None:
        """Sets every rank to the slowest one's seconds: rates and the end must be the same."""
        if distributed.is_available() and distributed.is_initialized():
            seconds = torch.tensor(self.seconds, device=device)
            distributed.all_reduce(seconds, op=distributed.ReduceOp.MAX)
            self.seconds = float(seconds)
