"""Blur kernels: isotropic and anisotropic Gaussians."""

import numpy as np
from numpy.typing import NDArray


def gaussian_kernel(
    size: int, sigma_x: float, sigma_y: float | None = None, theta: float = 0.0
) -> NDArray[np.float32]:
    """Returns a Gaussian kernel, k(u) ~ exp(-u^T S^-1 u / 2) with S = R diag(sx^2, sy^2) R^T.

    Args:
        size: Odd side length in pixels.
        sigma_x: Standard deviation along the first axis of the ellipse, pixels, > 0.
        sigma_y: Along the second axis; None makes the kernel isotropic.
        theta: Rotation of the ellipse, radians, from the x axis towards the y axis (downwards).

    Returns:
        Kernel of shape (size, size), rows are y; its sum is 1.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel's size is odd and positive, not {size}")
    sigma_y = sigma_x if sigma_y is None else sigma_y
    radius = size // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along_x = np.cos(theta) * x + np.sin(theta) * y
    along_y = -np.sin(theta) * x + np.cos(theta) * y
    kernel = np.exp(-0.5 * ((along_x / sigma_x) ** 2 + (along_y / sigma_y) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def gaussian_profile(size: int, sigma: float) -> NDArray[np.float32]:
    """Returns the 1-D factor of the isotropic kernel: its outer product with itself is the kernel.

    Args:
        size: Odd length in pixels.
        sigma: Standard deviation in pixels, > 0.

    Returns:
        Profile of shape (size,); its sum is 1.
    """
    x = np.arange(size, dtype=np.float64) - size // 2
    profile = np.exp(-0.5 * (x / sigma) ** 2)
    return (profile / profile.sum()).astype(np.float32)
