"""LPIPS against explicit loops and the lpips package."""

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import gradcheck

from osdface.errors import UserError
from osdface.losses.lpips import LPIPS


def naive(trunk, x, y, heads):
    """LPIPS of one pair in [0, 1], place by place."""
    total = 0.0
    for fx, fy, head in zip(trunk(x), trunk(y), heads, strict=True):
        _, channels, rows, columns = fx.shape
        for r in range(rows):
            for c in range(columns):
                a, b = fx[0, :, r, c].tolist(), fy[0, :, r, c].tolist()
                norm_a = math.sqrt(sum(v * v for v in a) + 1e-10)
                norm_b = math.sqrt(sum(v * v for v in b) + 1e-10)
                for k in range(channels):
                    difference = a[k] / norm_a - b[k] / norm_b
                    total += float(head[k]) * difference**2 / (rows * columns)
    return total


def test_lpips_is_the_papers_formula(trunk, pair):
    loss = LPIPS(trunk).double()
    uniform = [torch.full((n,), 0.5) for n in (4, 5)]
    drawn = [torch.rand(n, dtype=torch.float64) for n in (4, 5)]
    images = [((x + 1) / 2).split(1) for x in pair]
    for heads in (uniform, drawn):
        if heads is drawn:
            loss.set_weights(drawn)
        wanted = [naive(trunk, x, y, heads) for x, y in zip(*images, strict=True)]
        found = loss.per_image(*pair)
        torch.testing.assert_close(
            found, torch.tensor(wanted, dtype=torch.float64), atol=1e-10, rtol=1e-9
        )


def test_gradient(trunk, pair):
    loss = LPIPS(trunk).double()
    x, y = (image[:1, :, :5, :5].clone() for image in pair)
    assert gradcheck(lambda z: loss(z, y), x.requires_grad_())


def test_places_without_activation_give_a_finite_gradient(trunk, pair):
    trunk.first.bias.fill_(-1e4)  # softplus underflows to 0 everywhere
    trunk.second.bias.fill_(-1e4)
    x = pair[0].clone().requires_grad_()
    value = LPIPS(trunk).double()(x, pair[1])
    value.backward()
    assert value == 0 and x.grad.isfinite().all()


def test_equal_images_give_zero(trunk, pair):
    assert LPIPS(trunk).double()(pair[0], pair[0].clone()) == 0


def test_vgg_lpips_with_released_heads_is_the_package(monkeypatch, vgg_features, vgg_trunk):
    lpips = pytest.importorskip("lpips")
    fake = SimpleNamespace(vgg16=lambda **_: SimpleNamespace(features=vgg_features))
    monkeypatch.setattr(lpips.pretrained_networks, "tv", fake)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    torch.manual_seed(0)
    x, y = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        wanted = network(x, y).flatten()
        found = LPIPS(vgg_trunk("max")).per_image(x, y)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)
    assert found.min() > 0.01


def test_vgg_needs_max_pooling(vgg_trunk):
    with pytest.raises(UserError, match="pooling='max'"):
        LPIPS(vgg_trunk("l2"))
