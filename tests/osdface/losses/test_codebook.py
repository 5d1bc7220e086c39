"""The codebook loss: values and who learns how much from it."""

import pytest
import torch

from osdface.losses.codebook import CodebookLoss


@pytest.mark.parametrize(("swapped", "to_entries", "to_z"), [(False, 1, 0.25), (True, 0.25, 1)])
def test_beta_sits_on_the_intended_term(swapped, to_entries, to_z):
    torch.manual_seed(0)
    z, entries = (torch.randn(2, 5, requires_grad=True) for _ in range(2))
    value = CodebookLoss(swapped=swapped)(z, entries)
    difference = (z - entries).detach()
    assert float(value.detach()) == pytest.approx(
        1.25 * float((difference**2).sum()) / 10, rel=1e-6
    )
    value.backward()
    torch.testing.assert_close(entries.grad, -to_entries * 2 * difference / 10)
    torch.testing.assert_close(z.grad, to_z * 2 * difference / 10)
