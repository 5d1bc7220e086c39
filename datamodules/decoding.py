"""From encoded bytes to an RGB square of the wanted size."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datamodules.records import BrokenSample

cv2.setNumThreads(1)


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decodes PNG, JPEG, WebP or BMP bytes to RGB (H, W, 3); EXIF rotation is applied.

    Raises:
        BrokenSample: The bytes are no image, or a truncated one.
    """
    if _is_cut_off(data):
        raise BrokenSample("the image is cut off")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BrokenSample("the bytes cannot be decoded as an image") from error
    if image is None:
        raise BrokenSample("the bytes cannot be decoded as an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _is_cut_off(data: bytes) -> bool:
    """Tells a truncated JPEG or PNG, of which OpenCV before 5 returns the readable part."""
    if data.startswith(b"\xff\xd8"):
        # Inside a scan 0xFF is stuffed, so the last start of scan is a marker, and an end-of-image
        # marker must follow it; bytes behind that are allowed.
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG") and b"IEND" not in data


def fit_square(image: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """Returns the central square of an image, resampled to (resolution, resolution, 3).

    Shrinking averages areas, because OpenCV's Lanczos does not widen its filter and would alias;
    enlarging uses Lanczos. An image of the right size is returned unchanged.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    if side == resolution:
        return np.ascontiguousarray(image)
    method = cv2.INTER_AREA if side > resolution else cv2.INTER_LANCZOS4
    resized = cv2.resize(image, (resolution, resolution), interpolation=method)
    return np.asarray(resized, dtype=np.uint8)


def fit_points(
    points: NDArray[np.float32], height: int, width: int, resolution: int
) -> NDArray[np.float32]:
    """Moves pixel coordinates (K, 2), x before y, along with :func:`fit_square`."""
    side = min(height, width)
    corner = np.array([(width - side) // 2, (height - side) // 2], dtype=np.float32)
    # Pixel centres lie at whole coordinates, so the grids are aligned at the outer borders.
    return ((points - corner + 0.5) * (resolution / side) - 0.5).astype(np.float32)
