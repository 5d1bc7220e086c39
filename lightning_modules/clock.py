"""Seconds of training alone: what a budget of time is counted in."""

import time

import torch
from torch import distributed


class TrainingClock:
    """Adds up the time from one finished batch to the next, waiting for data included.

    Validation, writing checkpoints and whatever lies before the first batch are left out: call
    :meth:`pause` where they begin and end. All methods are cheap.

    Attributes:
        seconds: At the end of the last step, over all resumes. What depends on it, such as a
            learning rate, is the same on all ranks while the next step is under way.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._passed = 0.0
        self._mark: float | None = None

    def tick(self) -> None:
        """Notes the time since the last call; after a pause it begins anew."""
        now = time.perf_counter()
        if self._mark is not None:
            self._passed += now - self._mark
        self._mark = now

    def pause(self) -> None:
        """Leaves out the time until the next call of :meth:`tick`."""
        self._mark = None

    def settle(self, device: torch.device | None = None) -> None:
        """Counts what was noted since the last step.

        Args:
            device: Where given, every rank counts what the slowest one noted, as a budget of time
                needs: a collective.
        """
        if device and distributed.is_available() and distributed.is_initialized():
            passed = torch.tensor(self._passed, dtype=torch.float32, device=device)
            distributed.all_reduce(passed, op=distributed.ReduceOp.MAX)
            self._passed = float(passed)
        self.seconds += self._passed
        self._passed = 0.0
