"""DISTS against explicit loops and torchmetrics."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd import gradcheck
from torchmetrics.functional.image import dists as reference

from osdface.errors import UserError
from osdface.losses.dists import DISTS


def naive(trunk, x, y, alpha, beta):
    """DISTS of one pair in [0, 1], as the paper writes it, channel by channel."""
    similarity, index = 0.0, 0
    for fx, fy in zip([x, *trunk(x)], [y, *trunk(y)], strict=True):
        for c in range(fx.shape[1]):
            a, b = fx[0, c].flatten().tolist(), fy[0, c].flatten().tolist()
            n = len(a)
            ma, mb = sum(a) / n, sum(b) / n
            va = sum(v * v for v in a) / n - ma * ma
            vb = sum(v * v for v in b) / n - mb * mb
            cov = sum(v * w for v, w in zip(a, b, strict=True)) / n - ma * mb
            luminance = (2 * ma * mb + 1e-6) / (ma * ma + mb * mb + 1e-6)
            structure = (2 * cov + 1e-6) / (va + vb + 1e-6)
            similarity += float(alpha[index]) * luminance + float(beta[index]) * structure
            index += 1
    return 1 - similarity / float(alpha.sum() + beta.sum())


def test_dists_is_the_papers_formula(trunk, pair):
    loss = DISTS(trunk).double()
    alpha, beta = torch.rand(2, 12, dtype=torch.float64)
    ones = torch.ones(12)
    for weights in ((ones, ones), (alpha, beta)):  # uniform for a stand-in
        if weights[0] is alpha:
            loss.set_weights(alpha, beta)
        images = [((x + 1) / 2).split(1) for x in pair]
        wanted = [naive(trunk, x, y, *weights) for x, y in zip(*images, strict=True)]
        found = loss.per_image(*pair)
        assert found.dtype == torch.float64
        torch.testing.assert_close(
            found, torch.tensor(wanted, dtype=torch.float64), atol=0, rtol=1e-7
        )
        torch.testing.assert_close(loss(*pair), found.mean())


def test_gradient(trunk, pair):
    loss = DISTS(trunk).double()
    x, y = (image[:1, :, :5, :5].clone() for image in pair)
    assert gradcheck(lambda z: loss(z, y), x.requires_grad_())


def test_equal_images_give_exactly_zero_and_no_gradient(trunk, pair):
    x = pair[0].float().requires_grad_()
    value = DISTS(trunk.float())(x, x.detach().clone())
    value.backward()
    assert value == 0 and x.grad.abs().max() == 0


def test_target_has_no_graph(trunk, pair):
    x, y = (image.clone().requires_grad_() for image in pair)
    DISTS(trunk).double()(x, y).backward()
    assert y.grad is None and x.grad is not None and sorted(trunk.graphs) == [False, True]


def test_autocast_does_not_lower_the_precision(trunk, pair):
    loss, (x, y) = DISTS(trunk.float()), (image.float() for image in pair)
    with torch.autocast("cpu", torch.bfloat16):
        inside, half = loss(x, y), loss(x.bfloat16(), y.bfloat16())
    assert inside.dtype == half.dtype == torch.float32
    assert inside == loss(x, y) and half == loss(x.bfloat16().float(), y.bfloat16().float())


def test_vgg_dists_with_released_weights_is_torchmetrics(monkeypatch, vgg_features, vgg_trunk):
    monkeypatch.setattr(reference, "vgg16", lambda weights: SimpleNamespace(features=vgg_features))
    network = reference.DISTSNetwork(load_weights=True).eval()
    torch.manual_seed(0)
    x, y = torch.rand(2, 2, 3, 32, 32)
    found = DISTS(vgg_trunk("l2")).per_image(x * 2 - 1, y * 2 - 1)
    torch.testing.assert_close(found, network(x, y).flatten(), atol=2e-5, rtol=1e-4)
    assert found.min() > 0.01


def test_vgg_needs_l2_pooling(vgg_trunk):
    with pytest.raises(UserError, match="pooling='l2'"):
        DISTS(vgg_trunk("max"))
