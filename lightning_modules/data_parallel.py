"""Data parallel training without a wrapper around the module."""

from collections.abc import Iterable

from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lightning_modules.ranks import average_gradients, share_state


class AveragedDDPStrategy(DDPStrategy):
    """Lightning's DDP without torch's DistributedDataParallel; gradients are averaged once a step.

    Our modules optimize by hand, with two optimizers on parts of the same graph. The wrapper then
    has to search the graph for unused parameters at every backward pass, exchanges buffers that no
    rank changes, and exchanges gradients at every micro-batch. A :class:`SteppedModule` calls
    :meth:`average_gradients` instead, before an update, for the parameters that it updates. The
    exchange does not overlap with the backward pass: docs/scaling.md has what that costs.
    """

    def configure_ddp(self) -> None:
        """Gives all ranks rank zero's weights."""
        assert self.model is not None
        share_state(self.model)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces every gradient by its mean over the ranks; all of them call it together."""
        average_gradients(parameters)
