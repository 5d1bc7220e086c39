"""The identity loss."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from osdface.errors import UserError
from osdface.losses.identity import IdentityLoss
from osdface.networks.identity import IdentityEncoder


def test_loss_is_one_minus_the_mean_cosine(encoder, pair):
    wanted = 0.0
    raw = [encoder.network(image).tolist() for image in pair]
    for a, b in zip(*raw, strict=True):
        dot = sum(v * w for v, w in zip(a, b, strict=True))
        norms = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
        wanted += (1 - dot / norms) / 3
    assert float(IdentityLoss(encoder)(*pair)) == pytest.approx(wanted, abs=1e-12)
    assert IdentityLoss(encoder)(pair[0], pair[0].clone()) == 0


def test_gradient_reaches_the_restored_image_only(encoder, pair):
    x, y = (image.clone().requires_grad_() for image in pair)
    loss = IdentityLoss(encoder).train()
    loss(x, y).backward()
    assert y.grad is None and not encoder.training
    assert gradcheck(lambda z: loss(z, y), x)


def test_autocast_does_not_lower_the_precision(encoder, pair):
    x, y = (image.float() for image in pair)
    loss = IdentityLoss(encoder.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(x, y).dtype == torch.float32 and loss(x, y) == loss(x, y)
        inside = loss(x, y)
    assert inside == loss(x, y)


def test_scoring_networks_are_refused():
    with pytest.raises(UserError, match="no gradient"):
        IdentityLoss(IdentityEncoder(nn.Identity(), "onnx", differentiable=False))
