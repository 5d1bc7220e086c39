"""The degradation: blur -> down -> Gaussian noise -> JPEG -> up to size, all linear resampling.

A degradation of higher order does so several times, each with parameters of its own.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osdface.degradation.filtering import correlate
from osdface.degradation.kernels import gaussian_kernel, gaussian_profile
from osdface.degradation.parameters import Parameters, sample_parameters
from osdface.degradation.ranges import Degradation
from osdface.degradation.seeding import rng_for

# One image a process at a time: loader workers are the parallelism.
cv2.setNumThreads(1)

FloatImage = NDArray[np.float32]


def blur(image: FloatImage, parameters: Parameters) -> FloatImage:
    """Blurs a float32 (H, W, 3) image; the border is mirrored without repeating the edge pixel.

    Rows and columns of the kernel that hold less than 1e-7 of its sum are left out: the result
    changes by less than 1e-6, and small blurs cost a fraction.
    """
    size = parameters.kernel_size
    if parameters.sigma_y is None:  # separable: a third of the cost of the full kernel
        profile = gaussian_profile(min(size, _reach(parameters.sigma_x)), parameters.sigma_x)
        return np.asarray(cv2.sepFilter2D(image, -1, profile, profile), dtype=np.float32)
    kernel = gaussian_kernel(size, parameters.sigma_x, parameters.sigma_y, parameters.theta)
    x, y = np.abs([np.cos(parameters.theta), np.sin(parameters.theta)])
    width = _reach(float(np.hypot(parameters.sigma_x * x, parameters.sigma_y * y)))
    height = _reach(float(np.hypot(parameters.sigma_x * y, parameters.sigma_y * x)))
    rows, columns = ((size - min(size, reach)) // 2 for reach in (height, width))
    kernel = kernel[rows : size - rows, columns : size - columns]
    # A Gaussian is symmetric about its centre, so the correlation is the convolution.
    return correlate(image, kernel)


def _reach(sigma: float) -> int:
    """Odd number of pixels outside of which less than 1e-7 of a Gaussian's sum lies."""
    return 2 * math.ceil(5.5 * sigma) + 1


def resize(image: FloatImage, height: int, width: int) -> FloatImage:
    """Resamples linearly (pixel centres at half coordinates, no anti-aliasing)."""
    if image.shape[:2] == (height, width):
        return image
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def compress(image: FloatImage, quality: int) -> FloatImage:
    """Returns the image, RGB in [0, 1], after rounding to bytes and a round trip through JPEG."""
    bgr = cv2.cvtColor(_to_bytes(image), cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG image")
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    return _to_float(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def apply(
    image: NDArray[np.uint8] | FloatImage, parameters: Parameters, noise_rng: np.random.Generator
) -> NDArray[np.uint8] | FloatImage:
    """Degrades one RGB image.

    Args:
        image: High-quality image (H, W, 3), uint8 or float32 in [0, 1].
        parameters: What is done to it.
        noise_rng: Source of the noise, of all orders one after the other.

    Returns:
        Low-quality image of the same shape and type; float32 is not rounded to bytes.
    """
    as_bytes = image.dtype == np.uint8
    low: FloatImage = _to_float(image) if as_bytes else image.astype(np.float32)
    order: Parameters | None = parameters
    while order is not None:
        low = _apply_once(low, order, noise_rng)
        order = order.then
    return _to_bytes(low) if as_bytes else np.clip(low, 0, 1)


def _apply_once(
    image: FloatImage, parameters: Parameters, noise_rng: np.random.Generator
) -> FloatImage:
    height, width = image.shape[:2]
    low = blur(image, parameters)
    low = resize(low, max(1, int(height / parameters.down)), max(1, int(width / parameters.down)))
    if parameters.noise > 0:
        noise = noise_rng.standard_normal(low.shape, dtype=np.float32)
        low = low + noise * np.float32(parameters.noise / 255)
    low = resize(compress(low, parameters.jpeg_quality), height, width)
    if parameters.gray:
        luma = np.asarray(cv2.cvtColor(low, cv2.COLOR_RGB2GRAY), dtype=np.float32)
        low = np.repeat(luma[..., None], 3, axis=2)
    return low


def degrade(
    image: NDArray[np.uint8] | FloatImage, degradation: Degradation, seed: int, epoch: int, key: str
) -> NDArray[np.uint8] | FloatImage:
    """Degrades the image of sample ``key`` as (seed, epoch, key) decide; see :func:`apply`."""
    parameters = sample_parameters(degradation, rng_for(seed, epoch, key, "parameters"))
    return apply(image, parameters, rng_for(seed, epoch, key, "noise"))


def _to_float(image: NDArray[Any]) -> FloatImage:
    """Returns bytes divided by 255."""
    return image.astype(np.float32) / np.float32(255)


def _to_bytes(image: FloatImage) -> NDArray[np.uint8]:
    """Returns [0, 1] as bytes, rounded to the nearest; what is outside is clipped."""
    return np.asarray(cv2.addWeighted(image, 255, image, 0, 0, dtype=cv2.CV_8U), dtype=np.uint8)
