"""Torch's random stream over two real processes and a resume."""

from pathlib import Path

import torch

from lightning_modules.random_streams import part_streams, random_states, restore_random_state
from tests.processes import process_group, run_ranks


def draw() -> torch.Tensor:
    return torch.randn(3)


def work(rank: int, folder: Path) -> None:
    with process_group(folder / "meet", rank, 2):
        torch.manual_seed(7)
        part_streams()
        first = draw()
        saved = random_states()
        after = draw()
        torch.manual_seed(99)  # a new start, which does not know the stream
        restore_random_state(saved)
        assert torch.equal(draw(), after)
        restore_random_state(saved[0])  # of a run on one process
        torch.save({"first": first, "after": after, "alone": draw()}, folder / f"{rank}.pt")
        if rank == 0:
            torch.save(saved, folder / "saved.pt")


def test_every_rank_has_its_own_stream_and_goes_on_with_it(tmp_path):
    run_ranks(work, 2, tmp_path)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.manual_seed(7)
    assert torch.equal(one["first"], draw()) and torch.equal(one["after"], draw())
    assert not torch.equal(one["first"], two["first"])
    assert torch.equal(one["alone"], one["after"])
    assert not torch.equal(two["alone"], one["alone"])
    # What two processes saved goes on in one with the first one's stream.
    restore_random_state(torch.load(tmp_path / "saved.pt", weights_only=True))
    assert torch.equal(draw(), one["after"])
