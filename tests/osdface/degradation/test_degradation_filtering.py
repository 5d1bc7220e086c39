"""Correlation by a Fourier transform against sums over windows."""

import cv2
import numpy as np
import pytest

from osdface.degradation.filtering import correlate


def naive(image, kernel):
    """Sums over shifted copies of the mirrored image, float64."""
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(image.astype(np.float64), ((rows, rows), (columns, columns), (0, 0)), "reflect")
    height, width = image.shape[:2]
    return sum(
        kernel[y, x] * padded[y : y + height, x : x + width]
        for y in range(kernel.shape[0])
        for x in range(kernel.shape[1])
    )


@pytest.mark.parametrize("size", [(96, 96), (101, 137), (128, 512)])
@pytest.mark.parametrize("taps", [(41, 41), (39, 15), (9, 41)])
def test_any_kernel_gives_the_sum_over_its_window(size, taps, monkeypatch):
    monkeypatch.setattr(cv2, "filter2D", None)  # the other way is not meant here
    rng = np.random.default_rng(0)
    image = rng.random((*size, 3), np.float32)
    kernel = rng.random(taps, np.float32)  # not symmetric: a flip would show
    kernel /= kernel.sum()
    result = correlate(image, kernel)
    assert result.dtype == np.float32 and result.shape == image.shape
    np.testing.assert_allclose(result, naive(image, kernel), atol=2e-6)


@pytest.mark.parametrize(("size", "taps"), [((16, 16), (41, 41)), ((200, 200), (11, 11))])
def test_small_images_and_kernels_are_left_to_opencv(size, taps):
    rng = np.random.default_rng(1)
    image, kernel = rng.random((*size, 3), np.float32), rng.random(taps, np.float32)
    np.testing.assert_array_equal(correlate(image, kernel), cv2.filter2D(image, -1, kernel))
