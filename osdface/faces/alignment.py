"""From a photograph to FFHQ-aligned crops, by five landmarks and a similarity.

Coordinates are pixels, x before y, the centre of the first pixel at (0, 0).
"""

import cv2
import numpy as np

from osdface.networks.alignment import FFHQ_TEMPLATE, fit_similarity

_TEMPLATE_SIZE = 512


def scaling(factor: float) -> np.ndarray:
    """Returns the (2, 3) map of pixel coordinates when a picture is resized by ``factor``.

    The outer borders coincide, not the centres of the first pixels.
    """
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift]])


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Returns the (2, 3) map that applies ``first``, then ``second``."""
    return second @ np.vstack([first, (0, 0, 1)])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of a (2, 3) map."""
    return np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]


def scale_of(matrix: np.ndarray) -> float:
    """Returns by how much a (2, 3) similarity enlarges."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def face_matrix(points: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the (2, 3) similarity from a photo to the FFHQ crop of side ``resolution``.

    Args:
        points: Eyes, nose, corners of the mouth, (5, 2), the left of the picture first.
        resolution: Side of the crop; the template of 512 is scaled to it.
    """
    to_crop = scaling(resolution / _TEMPLATE_SIZE)
    return compose(to_crop, fit_similarity(points, FFHQ_TEMPLATE))


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int) -> np.ndarray:
    """Resamples an image by a similarity without aliasing.

    Args:
        image: (H, W) or (H, W, C).
        matrix: (2, 3), from its pixels to the target's.
        size: (width, height) of the target.
        border: What lies outside, a constant of OpenCV.
    """
    scale = scale_of(matrix)
    if scale < 1:
        # Bilinear sampling looks at four pixels however far apart its samples are: average first.
        height, width = image.shape[:2]
        small = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
        x, y = width / small[0], height / small[1]
        back = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])
        matrix = compose(matrix, back)
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    )


def crop_face(image: np.ndarray, matrix: np.ndarray, resolution: int) -> np.ndarray:
    """Cuts the aligned face (R, R, 3) out of a photo (H, W, 3), uint8 or uint16.

    What lies outside the photo is its mirror image, as in FFHQ's own alignment.
    """
    # Only the neighbourhood: a small face in a large photo must not resample all of it, and
    # OpenCV warps no picture whose side exceeds 32767.
    left, top, right, bottom = region(matrix, resolution, image.shape, margin=2)
    if right - left < 2 or bottom - top < 2:
        left, top, right, bottom = 0, 0, image.shape[1], image.shape[0]
    shift = np.array([[1, 0, left], [0, 1, top]], float)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    moved = compose(matrix, shift)
    return warp(part, moved, (resolution, resolution), cv2.BORDER_REFLECT_101)


def region(
    matrix: np.ndarray, resolution: int, shape: tuple[int, ...], margin: int = 0
) -> tuple[int, int, int, int]:
    """Returns (left, top, right, bottom) of the photo's pixels that a crop covers.

    Args:
        matrix: From the photo to the crop.
        resolution: Side of the crop.
        shape: (H, W, ...) of the photo.
        margin: Pixels more on each side, within the photo.
    """
    low, high = -0.5, resolution - 0.5
    corners = np.array([[low, low], [high, low], [high, high], [low, high]])
    corners = np.hstack([corners, np.ones((4, 1))]) @ invert(matrix).T
    left, top = np.floor(corners.min(0)).astype(int) - margin
    right, bottom = np.ceil(corners.max(0)).astype(int) + 1 + margin
    height, width = shape[:2]
    x = np.clip([left, right], 0, width)
    y = np.clip([top, bottom], 0, height)
    return int(x[0]), int(y[0]), int(x[1]), int(y[1])
