"""Our identity network, and its margin against the paper's formula."""

import math

import numpy as np
import torch
from torch import nn

from osdface.networks.tiny_identity import ArcMarginHead, TinyIdentityNetwork


def test_tiny_network_embeds_any_size_with_unit_norm():
    network = TinyIdentityNetwork().eval()
    assert 0.2e6 < sum(p.numel() for p in network.parameters()) < 0.45e6
    smooth = nn.functional.interpolate(torch.rand(2, 3, 8, 8), (128, 128), mode="bicubic")
    large = network(smooth)
    small = network(nn.functional.interpolate(smooth, (64, 64), mode="area"))
    assert large.shape == (2, 128)
    torch.testing.assert_close(large.norm(dim=1), torch.ones(2))
    assert (large * small).sum(1).min() > 0.999


def test_arc_margin_is_the_papers_formula():
    torch.manual_seed(0)
    head = ArcMarginHead(4, margin=0.5, scale=8.0, embedding_size=3).double()
    # The second embedding is nearly opposite to its class, where theta + margin > pi.
    e = torch.stack([torch.randn(3).double(), -head.weight[2].detach() + 0.01])
    e, labels = nn.functional.normalize(e), torch.tensor([1, 2])
    wanted = np.zeros((2, 4))
    for i in range(2):
        for j in range(4):
            w = head.weight[j].detach().numpy()
            cosine = float(e[i].numpy() @ w / np.linalg.norm(w))
            theta = math.acos(cosine)
            if j == labels[i]:
                above = theta + 0.5 > math.pi
                cosine = cosine - 0.5 * math.sin(0.5) if above else math.cos(theta + 0.5)
                assert above == (i == 1)
            wanted[i, j] = 8 * cosine
    np.testing.assert_allclose(head(e, labels).detach().numpy(), wanted, atol=1e-9)
    plain = head(e)  # without labels no margin
    assert plain[0, 1] != head(e, labels)[0, 1] and plain[0, 0] == head(e, labels)[0, 0]


def test_arc_margin_has_a_finite_gradient_for_a_perfect_embedding():
    head = ArcMarginHead(3, embedding_size=4)
    e = nn.functional.normalize(head.weight.detach()[:1]).requires_grad_()
    head(e, torch.tensor([0])).sum().backward()
    assert e.grad.isfinite().all() and head.weight.grad.isfinite().all()
