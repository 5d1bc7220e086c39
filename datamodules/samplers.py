"""Which sample comes when: exact, seeded, and aware of its position."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Sampler

from osdface.degradation import rng_for
from osdface.errors import UserError

# So many that with half of all samples broken not one in 10^9 finds every spare broken too.
SPARES = 32


class Draw(NamedTuple):
    """One sample that is asked of a data set.

    Attributes:
        epoch: Epoch, which seeds flip and degradation.
        sample: The sample's number.
        spares: Numbers to use, in this order, if that sample is broken.
    """

    epoch: int
    sample: int
    spares: tuple[int, ...] = ()


def _spares(own: np.ndarray, batch: int, place: int) -> tuple[int, ...]:
    """Returns samples of ``own``, shape (batches, batch_size), to take in place of one of them.

    First those at the same place of other batches, from half an epoch away on. Such a place belongs
    to one rank whatever their number, if the global batch is the same; so a resume on another
    number of processes replaces by the same samples. Then, in short epochs, those at other places.
    """
    batches, places = own.shape
    rows = (batch + batches // 2 + np.arange(min(batches, SPARES))) % batches
    columns = (place + np.arange(min(places, 1 + SPARES // batches))) % places
    found = own[rows][:, columns].T.reshape(-1).tolist()
    return tuple(spare for spare in dict.fromkeys(found) if spare != own[batch, place])[:SPARES]


class EpochSampler(Sampler[list[Draw]]):
    """Batches of a rank, epoch after epoch without end, each epoch in its own seeded order.

    The batch of global step ``s`` depends on ``s`` alone: it can be resumed anywhere. Every epoch
    has ``size // (batch_size * world_size)`` batches on every rank; no sample is drawn twice in it,
    and only the last incomplete global batch is left out. Equal global batches give the same global
    batch of samples on any world size.

    Args:
        size: Samples in the data set.
        batch_size: Samples a batch on one rank.
        seed: Decides the orders.
        rank: This process.
        world_size: Processes.
        guard: Called before each batch, in the main process; may raise to stop training.

    Raises:
        UserError: Fewer samples than one global batch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        guard: Callable[[], None] | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"The batch size is {batch_size}: give at least 1.")
        if size < batch_size * world_size:
            raise UserError(
                f"There are {size} training images but a batch takes {batch_size} on each of "
                f"{world_size} process(es): lower scale.stage1.batch_size or "
                "scale.stage2.batch_size, or add images."
            )
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size, self.guard = rank, world_size, guard
        self.batches_per_epoch = size // (batch_size * world_size)
        self.batches_done = 0

    def set_start(self, batches_done: int) -> None:
        """Makes the next iteration begin after ``batches_done`` batches of this rank."""
        self.batches_done = batches_done

    def batch_finished(self) -> None:
        """Notes that the trainer is done with one more batch."""
        self.batches_done += 1

    def own_order(self, epoch: int) -> np.ndarray:
        """Returns this rank's samples of an epoch, shape (batches_per_epoch, batch_size)."""
        order = rng_for(self.seed, epoch, "epoch order").permutation(self.size)
        used = self.batches_per_epoch * self.world_size * self.batch_size
        shape = (self.batches_per_epoch, self.world_size, self.batch_size)
        return np.asarray(order[:used].reshape(shape)[:, self.rank])

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, batch = divmod(self.batches_done, self.batches_per_epoch)
        while True:
            own = self.own_order(epoch)
            for number in range(batch, self.batches_per_epoch):
                if self.guard is not None:
                    self.guard()
                yield [
                    Draw(epoch, int(own[number, place]), _spares(own, number, place))
                    for place in range(self.batch_size)
                ]
            epoch, batch = epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Returns the position and what it is a position in, as plain ints."""
        return {
            "batches_done": self.batches_done,
            "epoch": self.batches_done // self.batches_per_epoch,
            "seed": self.seed,
            "size": self.size,
            "global_batch": self.batch_size * self.world_size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after the batches that ``state`` counts.

        Raises:
            UserError: The state belongs to other data, another seed or another global batch; the
                sequence could not be continued exactly.
        """
        own = self.state_dict()
        names = {"seed": "data seed", "size": "number of images", "global_batch": "global batch"}
        for key, name in names.items():
            if state[key] != own[key]:
                raise UserError(
                    f"The checkpoint was made with a {name} of {state[key]}, this run has "
                    f"{own[key]}: use the same to resume, or start a new run from its weights."
                )
        self.set_start(int(state["batches_done"]))


class ValidationSampler(Sampler[list[Draw]]):
    """Every sample once over all ranks, in order, always as in epoch 0.

    Ranks differ by one batch at most; each has at least one. What takes the place of a broken
    sample does not depend on the number of ranks either.

    Args:
        size: Samples in the data set.
        batch_size: Samples a batch on one rank; the last batch may be smaller.
        rank: This process.
        world_size: Processes.

    Raises:
        UserError: Fewer samples than processes.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1:
            raise UserError(f"data.val_batch_size is {batch_size}: give at least 1.")
        if size < world_size:
            raise UserError(
                f"There are {size} validation images for {world_size} processes: give at least "
                "one a process."
            )
        self.own = range(rank, size, world_size)
        self.size, self.batch_size = size, batch_size

    def __iter__(self) -> Iterator[list[Draw]]:
        for first in range(0, len(self.own), self.batch_size):
            yield [self._draw(number) for number in self.own[first : first + self.batch_size]]

    def _draw(self, number: int) -> Draw:
        near = range(number + self.size // 2, number + self.size // 2 + SPARES)
        spares = dict.fromkeys(spare % self.size for spare in near)
        return Draw(0, number, tuple(spare for spare in spares if spare != number))

    def __len__(self) -> int:
        return -(-len(self.own) // self.batch_size)
