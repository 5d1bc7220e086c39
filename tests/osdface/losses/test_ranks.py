"""What two processes compute equals what one computes on the whole batch."""

import datetime
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from osdface.losses.adversarial import adaptive_weight
from osdface.losses.association import AssociationLoss


def inputs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)


def compute(part=slice(None), gather=False):
    """Returns the association's value and three gradients, and the adaptive weight."""
    hq, lq = (tokens[part].clone().requires_grad_() for tokens in inputs())
    loss = AssociationLoss(gather).double()
    value = loss(hq, lq)
    value.backward()
    layer = torch.ones(5, dtype=torch.float64, requires_grad=True)
    means = hq.detach().mean((0, 1)), lq.detach().mean((0, 1))
    weight = adaptive_weight(*(layer @ mean for mean in means), layer, reduce=gather)
    gradients = (hq.grad, lq.grad, loss.temperature.log_scale.grad)
    return value.detach(), *gradients, weight


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    result = compute(slice(2 * rank, 2 * rank + 2), gather=True)
    torch.save(result, Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_association_and_its_gradients(ranks):
    value, hq, lq, temperature, _ = compute()
    for rank in ranks:
        torch.testing.assert_close(rank[0], value)
    # DDP averages gradients over the two ranks.
    torch.testing.assert_close(torch.cat([rank[1] for rank in ranks]) / 2, hq)
    torch.testing.assert_close(torch.cat([rank[2] for rank in ranks]) / 2, lq)
    torch.testing.assert_close((ranks[0][3] + ranks[1][3]) / 2, temperature)


def test_without_gathering_the_loss_depends_on_the_number_of_ranks():
    whole, halves = compute()[0], [compute(slice(2 * k, 2 * k + 2))[0] for k in (0, 1)]
    assert abs(whole - sum(halves) / 2) > 0.1  # so the test above can fail


def test_adaptive_weight(ranks):
    wanted = compute()[4]
    assert all(abs(rank[4] - wanted) < 1e-12 for rank in ranks)
    assert abs(compute(slice(0, 2))[4] - wanted) > 1e-3
