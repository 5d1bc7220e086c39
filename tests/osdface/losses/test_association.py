"""The association loss against numpy."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from osdface.losses.association import AssociationLoss, LearnedTemperature


def naive(hq, lq, scale):
    h = [v / np.linalg.norm(v) for v in hq.reshape(-1, hq.shape[-1])]
    t = [v / np.linalg.norm(v) for v in lq.reshape(-1, lq.shape[-1])]
    n, total = len(h), 0.0
    for i in range(n):
        row = [scale * float(h[i] @ t[j]) for j in range(n)]
        column = [scale * float(h[j] @ t[i]) for j in range(n)]
        for logits in (row, column):
            total += math.log(sum(math.exp(v) for v in logits)) - logits[i]
    return total / (2 * n)


def test_loss_is_symmetric_cross_entropy():
    hq, lq = np.random.default_rng(0).normal(size=(2, 2, 3, 4))
    loss = AssociationLoss(gather=True).double()  # no process group: no effect
    found = loss(torch.tensor(hq), torch.tensor(lq)).detach()
    assert float(found) == pytest.approx(naive(hq, lq, 1 / 0.07), rel=1e-6)
    assert float(loss(torch.tensor(lq), torch.tensor(hq)).detach()) == pytest.approx(float(found))


def test_gradient_of_tokens_and_temperature():
    hq, lq = torch.randn(2, 1, 4, 3, dtype=torch.float64)
    loss = AssociationLoss().double()
    assert gradcheck(loss, (hq.requires_grad_(), lq.requires_grad_()))
    loss(hq, lq).backward()
    scale, step = float(loss.temperature().detach()), 1e-6
    tokens = (hq.detach().numpy(), lq.detach().numpy())
    wanted = (naive(*tokens, scale * math.exp(step)) - naive(*tokens, scale)) / step
    assert float(loss.temperature.log_scale.grad) == pytest.approx(wanted, rel=1e-3)


def test_half_precision_tokens_are_compared_in_float32():
    hq, lq = torch.randn(2, 1, 4, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = AssociationLoss()(hq, lq)
    assert found.dtype == torch.float32 and found == AssociationLoss()(hq.float(), lq.float())


def test_temperature_starts_as_in_clip_and_returns_from_its_bounds():
    temperature = LearnedTemperature()
    assert float(temperature().detach()) == pytest.approx(1 / 0.07)
    for outside, bound, sign in ((9.0, 100.0, 1), (-3.0, 1.0, -1)):
        temperature.log_scale.data.fill_(outside)
        value = temperature()
        assert float(value.detach()) == pytest.approx(bound, rel=1e-6)
        temperature.log_scale.grad = None
        (sign * value).backward()
        temperature.log_scale.data -= 0.01 * temperature.log_scale.grad
        assert sign * (bound - float(temperature().detach())) > 0
