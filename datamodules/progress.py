"""How far a training is in its data and what is broken there, on all of its processes."""

from typing import Any

from torch import distributed

from datamodules.dataset import FaceDataset
from datamodules.samplers import EpochSampler
from osdface.errors import UserError

SHARE_EVERY = 100  # batches after which the processes tell each other what they found broken


def everyones(value: Any) -> list[Any]:
    """Returns the value of every process, by rank; all of them must call it at the same point."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def check_ranks_agree(own: object) -> None:
    """Raises UserError if another process reached other shards: the order would differ."""
    if any(other != own for other in everyones(own)):
        raise UserError(
            "The processes see different shards, because some could not be reached or are "
            "damaged on one of them: repeat the command, or give every node the same shards."
        )


class DataProgress:
    """Position of this process and the broken samples of all: what a resume needs.

    Processes tell each other every :data:`SHARE_EVERY` batches, and at each checkpoint, what they
    found broken. Then all replace the same samples, count the same, and stop at the same batch
    where the allowed share is exceeded.

    Args:
        sampler: Draws this process's training batches.
        train_set: What they are drawn from.
        val_set: The validation pairs; their broken samples are counted too.
    """

    def __init__(self, sampler: EpochSampler, train_set: FaceDataset, val_set: FaceDataset) -> None:
        self.sampler, self.train_set, self.val_set = sampler, train_set, val_set

    def batch_finished(self) -> None:
        """Notes that the trainer is done with one more batch; every process calls it."""
        self.sampler.batch_finished()
        if self.sampler.batches_done % SHARE_EVERY == 0:
            self.share_broken()

    def share_broken(self) -> None:
        """Makes every process know what any of them found broken; all must call it."""
        own = self.train_set.broken_keys, self.val_set.broken_keys
        for training, validation in everyones(own):
            self.train_set.mark_broken(set(training).difference(own[0]))
            self.val_set.mark_broken(set(validation).difference(own[1]))

    def state_dict(self) -> dict[str, Any]:
        """Returns the position, in batches that the trainer finished, and what is broken.

        A resumed run goes on replacing the same samples, even if they can be read again. Every
        process calls it, as Lightning does for a checkpoint.
        """
        self.share_broken()
        return {"sampler": self.sampler.state_dict(), "broken": self.train_set.broken_keys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues there; raises UserError if data, seed or global batch differ."""
        self.sampler.load_state_dict(state["sampler"])
        self.train_set.mark_broken(frozenset(state.get("broken", ())))
