"""Torch's random stream on several ranks: one for each, all of them in every checkpoint.

Stages 1 and 2 draw by (seed, step, key) and need none; the pretraining draws from it.
"""

import torch
from torch import Tensor, distributed

from lightning_modules.ranks import world_size

_APART = 1_000_003


def _rank() -> int:
    return distributed.get_rank() if world_size() > 1 else 0


def part_streams() -> None:
    """Gives every rank but the first a stream of its own; at the start of a training."""
    if rank := _rank():
        torch.manual_seed(torch.initial_seed() + _APART * rank)


def random_states() -> Tensor:
    """Returns the state of the stream, (bytes,), or of all ranks', (ranks, bytes).

    Every rank calls it together.
    """
    own = torch.get_rng_state()
    if world_size() == 1:
        return own
    states: list[Tensor] = [own] * world_size()
    distributed.all_gather_object(states, own)
    return torch.stack(states)


def restore_random_state(saved: Tensor) -> None:
    """Goes on with what :func:`random_states` returned, each rank with its own.

    On another number of ranks the first one's stream goes on, and the others part from it.
    """
    rows = saved.reshape(-1, saved.shape[-1])
    same = len(rows) == world_size()
    # A copy: torch reads a generator's state at an aligned address alone, which a row may not have.
    torch.set_rng_state((rows[_rank()] if same else rows[0]).clone())
    if not same:
        part_streams()
