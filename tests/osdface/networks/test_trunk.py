"""The trunks' pooling against naive loops."""

import numpy as np
import pytest
import torch

from osdface.networks.trunk import L2Pool


@pytest.mark.parametrize("size", [6, 7])
def test_l2_pool_is_the_root_of_the_hanning_mean_of_squares(size):
    x = np.random.default_rng(0).normal(size=(2, 3, size, size))
    window = np.hanning(5)[1:-1]
    window = window / window.sum()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    half = (size + 1) // 2
    wanted = np.zeros((2, 3, half, half))
    for row in range(half):
        for column in range(half):
            for i in range(3):
                for j in range(3):
                    value = padded[:, :, 2 * row + i, 2 * column + j]
                    wanted[:, :, row, column] += window[i] * window[j] * value**2
    np.testing.assert_allclose(L2Pool()(torch.tensor(x)).numpy(), np.sqrt(wanted), atol=1e-9)


def test_l2_pool_has_a_finite_gradient_at_zero():
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    L2Pool()(x).sum().backward()
    assert x.grad.abs().max() == 0
