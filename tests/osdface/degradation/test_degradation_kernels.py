"""Kernels against their formula, evaluated pixel by pixel."""

import math

import numpy as np
import pytest

from osdface.degradation.kernels import gaussian_kernel, gaussian_profile


def naive_kernel(size: int, sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    inverse = np.linalg.inv(rotation @ np.diag([sigma_x**2, sigma_y**2]) @ rotation.T)
    kernel = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            offset = np.array([column - size // 2, row - size // 2], dtype=float)
            kernel[row, column] = math.exp(-0.5 * offset @ inverse @ offset)
    return kernel / kernel.sum()


@pytest.mark.parametrize(
    ("size", "sigma_x", "sigma_y", "theta"),
    [(3, 0.5, 0.5, 0.0), (7, 2.0, 0.7, 0.4), (41, 15.0, 1.0, -2.9), (41, 0.1, 10.0, 1.2)],
)
def test_kernel_is_the_formula(size, sigma_x, sigma_y, theta):
    kernel = gaussian_kernel(size, sigma_x, sigma_y, theta)
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, naive_kernel(size, sigma_x, sigma_y, theta), atol=1e-7)


def test_ellipse_lies_along_its_first_axis():
    kernel = gaussian_kernel(21, 4.0, 1.0, theta=math.pi / 4)  # towards lower right
    assert kernel[14, 14] > 10 * kernel[14, 6]
    assert kernel[14, 14] == pytest.approx(kernel[6, 6])


@pytest.mark.parametrize("sigma", [1e-4, 0.1, 1.0, 15.0])
def test_profile_factors_the_isotropic_kernel(sigma):
    profile = gaussian_profile(9, sigma)
    assert profile.sum() == pytest.approx(1)
    np.testing.assert_allclose(np.outer(profile, profile), gaussian_kernel(9, sigma), atol=1e-7)


def test_even_size_is_refused():
    with pytest.raises(ValueError, match="odd"):
        gaussian_kernel(4, 1.0)
