"""What ranks exchange, on two real processes: gradients, weights, statistics, figures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from lightning_modules.ranks import (
    average_batch_statistics,
    average_figures,
    average_gradients,
    gather_rows,
    share_state,
)
from lightning_modules.step_figures import StepFigures
from tests.processes import process_group, run_ranks

WORLD = 2


class Parts(nn.Module):
    """Parameters and buffers of several types, shapes and memory layouts."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.convolution = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        self.linear = nn.Linear(5, 3).double()
        self.scalar = nn.Parameter(torch.randn(()))
        self.frozen = nn.Parameter(torch.randn(7).half(), requires_grad=False)
        self.norm = nn.BatchNorm1d(3)
        nn.init.normal_(self.norm.running_mean)
        self.register_buffer("counts", torch.randint(100, (9,)))
        self.register_buffer("flags", torch.rand(5) > 0.5, persistent=False)
        self.register_buffer("empty", torch.zeros(0))

    def own_gradients(self, rank: int) -> dict[str, torch.Tensor | None]:
        """Rank 0 lacks the scalar's, rank 1 the linear bias's, both the norm's."""
        generator = torch.Generator().manual_seed(50 + rank)
        absent = [("scalar",), ("linear.bias",)][rank] + ("norm.weight", "norm.bias")
        return {
            name: None if name in absent else torch.randn(p.shape, generator=generator).to(p)
            for name, p in self.named_parameters()
            if p.requires_grad
        }


def averaged(rank: int, bucket_bytes: int) -> dict[str, Any]:
    parts = Parts(0)
    for name, gradient in parts.own_gradients(rank).items():
        parameter = parts.get_parameter(name)
        if gradient is not None and name == "convolution.weight":
            gradient = gradient.to(memory_format=torch.channels_last)
        parameter.grad = gradient
    calls: list[int] = []
    real = distributed.all_reduce
    distributed.all_reduce = lambda tensor: (calls.append(tensor.nbytes), real(tensor))
    trained = [p for p in parts.parameters() if p.requires_grad]
    average_gradients(trained, bucket_bytes)
    distributed.all_reduce = real
    assert parts.convolution.weight.grad.stride() == parts.convolution.weight.stride()
    gradients = {n: p.grad for n, p in parts.named_parameters() if p.requires_grad}
    return {"gradients": gradients, "calls": calls}


def work(rank: int, folder: Path) -> None:
    with process_group(folder / "store", rank, WORLD):
        found: dict[str, Any] = {size: averaged(rank, size) for size in (1, 300, 2**20)}
        parts = Parts(rank)
        share_state(parts, 64)
        names = ("frozen", "counts", "flags", "scalar", "linear.weight", "convolution.weight")
        found["shared"] = {name: _tensor(parts, name).detach().clone() for name in names}
        parts.norm.running_mean.copy_(torch.arange(3.0) + rank)
        average_batch_statistics(parts)
        found["mean"] = parts.norm.running_mean.clone()
        parts.norm.requires_grad_(False)
        parts.norm.running_mean.fill_(rank)
        average_batch_statistics(parts)
        found["frozen_mean"] = parts.norm.running_mean.clone()
        half = torch.tensor(rank + 1.0, dtype=torch.bfloat16)
        found["figures"] = average_figures({"a": half, "b": torch.tensor(4.0 * rank)})
        figures = StepFigures()
        for number in range(3):
            value = torch.tensor(10.0 * rank + number)
            figures.add({"loss": value})
            figures.add_norms({"norm": value})
        found["step"] = figures.close()
        found["again"] = figures.close()
        found["rows"] = gather_rows(torch.full((1 + rank, 2), float(rank)))
        torch.save(found, folder / f"{rank}.pt")


def _tensor(module: nn.Module, name: str) -> torch.Tensor:
    return dict([*module.named_parameters(), *module.named_buffers()])[name]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(work, WORLD, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("size", [1, 300, 2**20])
def test_gradients_are_means_and_absent_ones_count_as_zero(ranks, size) -> None:
    parts = Parts(0)
    own = [parts.own_gradients(rank) for rank in range(WORLD)]
    for rank in ranks:
        for name, found in rank[size]["gradients"].items():
            there = [each[name] for each in own if each[name] is not None]
            if there:
                assert torch.equal(found, torch.stack(there).sum(0) / WORLD), name
            else:
                assert found is None, name
    assert sum(found is None for found in ranks[0][size]["gradients"].values()) == 2


def test_few_exchanges_carry_little_more_than_the_gradients(ranks) -> None:
    # Numbers of each type travel together; one more for each parameter says that it is there.
    single = 4 * (4 * 6 * 9 + 6 + 1 + 6) + 4 * 5
    double = 8 * (15 + 3) + 8 * 2
    assert sorted(ranks[0][2**20]["calls"]) == [double, single]
    assert len(ranks[0][1]["calls"]) == 7


def test_all_ranks_start_from_rank_zero(ranks) -> None:
    wanted = Parts(0)
    for rank in ranks:
        for name, found in rank["shared"].items():
            assert torch.equal(found, _tensor(wanted, name)), name


def test_statistics_of_trained_batch_norms_are_averaged(ranks) -> None:
    for number, rank in enumerate(ranks):
        assert rank["mean"].tolist() == [0.5, 1.5, 2.5]
        assert rank["frozen_mean"].tolist() == [number] * 3  # frozen ones are equal in any case


def test_figures_are_means_over_micro_batches_and_ranks(ranks) -> None:
    for rank in ranks:
        assert rank["figures"] == {"a": 1.5, "b": 2.0}
        squares = [value**2 for value in (0, 1, 2, 10, 11, 12)]
        assert rank["step"]["loss"] == 6.0
        # Gradients of six disjoint parts, each a sixth of what it is in its own mean.
        assert rank["step"]["norm"] == pytest.approx(sum(squares) ** 0.5 / 6)
        assert rank["again"] == {}


def test_rows_of_all_ranks_come_in_their_order(ranks) -> None:
    for rank in ranks:
        assert rank["rows"].tolist() == [[0, 0], [1, 1], [1, 1]]


def test_alone_nothing_is_touched() -> None:
    parts = Parts(0)
    parts.scalar.grad = torch.tensor(3.0)
    average_gradients(parts.parameters())
    share_state(parts)
    average_batch_statistics(parts)
    assert gather_rows(torch.ones(2, 1)).tolist() == [[1], [1]]
    assert parts.scalar.grad == 3.0 and parts.linear.weight.grad is None
    assert average_figures({"a": torch.tensor(2.0), "b": torch.tensor(1.0).double()}) == {
        "a": 2.0,
        "b": 1.0,
    }
