"""Pixel losses against plain sums."""

import pytest
import torch
from torch.autograd import gradcheck

from osdface.losses.pixel import L1, MSE


@pytest.mark.parametrize(("kind", "power"), [(MSE, 2), (L1, 1)])
def test_pixel_losses_are_means(pair, kind, power):
    x, y = pair
    numbers = zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
    wanted = sum(abs(a - b) ** power for a, b in numbers) / x.numel()
    assert float(kind()(x, y)) == pytest.approx(wanted, rel=1e-12)
    assert gradcheck(lambda z: kind()(z, y[:1]), x[:1].clone().requires_grad_())
    assert kind()(x, x) == 0
    assert kind()(x.bfloat16(), y.bfloat16()).dtype == torch.float32
