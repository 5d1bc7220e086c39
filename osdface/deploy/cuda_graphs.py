"""A function of tensors as CUDA graphs: the host's work is done once for every shape.

At batch 1 some 2,000 small kernels wait for Python; a graph starts them all at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_WARM_UP = 3  # calls before the capture: libraries choose and allocate in the first ones


@dataclass
class _Captured:
    graph: Any
    images: Tensor
    found: Any


class GraphedCall:
    """Runs ``call(images)`` by replaying a graph that was captured at the shape's first call.

    Every shape takes a capture of a few calls' time; all share one pool of memory, since none runs
    beside another. Not for several threads at once.

    Args:
        call: Maps a tensor to tensors, or None among them, on the same device: no host
            synchronisation, nothing random, the same work for equal shapes.
        device: A CUDA device.
    """

    def __init__(self, call: Callable[[Tensor], tuple[Tensor | None, ...]], device: torch.device):
        self.call, self.device = call, device
        self.pool: Any = None
        self.captured: dict[Any, _Captured] = {}

    def __call__(self, images: Tensor) -> tuple[Tensor | None, ...]:
        """Returns what ``call(images)`` does, in memory of the caller's own."""
        key = (tuple(images.shape), images.dtype)
        with torch.cuda.device(self.device):
            if key not in self.captured:
                self.captured[key] = self._capture(images)
            kept = self.captured[key]
            kept.images.copy_(images)
            kept.graph.replay()
            # The next replay writes to the same memory.
            return tuple(None if each is None else each.clone() for each in kept.found)

    def _capture(self, images: Tensor) -> _Captured:
        static = images.clone()
        # Not on the default stream, which cannot be captured.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self.call(static)
        torch.cuda.current_stream().wait_stream(stream)
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=stream):
            found = self.call(static)
        return _Captured(graph, static, found)
