"""The edge-aware losses."""

import pytest
import torch
from torch.autograd import gradcheck

from osdface.losses.dists import DISTS
from osdface.losses.edge_aware import EdgeAware
from osdface.losses.edges import sobel_edges
from osdface.losses.lpips import LPIPS


@pytest.mark.parametrize("kind", [DISTS, LPIPS])
def test_one_pass_equals_the_sum_of_two(trunk, pair, kind):
    loss = kind(trunk).double()
    edges = [sobel_edges((image + 1) / 2).repeat(1, 3, 1, 1) * 2 - 1 for image in pair]
    wanted = loss.per_image(*pair) + loss.per_image(*edges)
    trunk.seen.clear()
    trunk.graphs.clear()
    both = EdgeAware(loss)
    torch.testing.assert_close(both.per_image(*pair), wanted, atol=1e-12, rtol=1e-9)
    assert trunk.seen == [6, 6]  # target and restored, each with its edges
    assert sorted(trunk.graphs) == [False, True]
    assert both(pair[0], pair[0].clone()) == 0
    assert both.specification() == f"ea_{loss.name} on small (stand-in)"


def test_gradient(trunk, pair):
    loss = EdgeAware(DISTS(trunk)).double()
    x, y = (image[:1, :, :5, :5].clone() for image in pair)
    assert gradcheck(lambda z: loss(z, y), x.requires_grad_())
