"""Restored faces back into their photograph, with soft borders."""

from collections.abc import Sequence

import cv2
import numpy as np

from osdface.faces.alignment import invert, region, scale_of, warp

FEATHER = 0.1  # of the crop's side: where the mask rises from 0 to 1
_MARGIN = 0.02  # of the crop's side: its outermost pixels never show
_SHARPNESS = 4  # of the border between two faces


def _inner_distance(
    matrix: np.ndarray, resolution: int, box: tuple[int, int, int, int]
) -> np.ndarray:
    """How far inside a crop the photo's pixels lie: 0 on its border and outside, 1 at its centre.

    Computed from coordinates, so it is exactly 0 outside.
    """
    left, top, right, bottom = box
    x, y = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    u, v = (row[0] * x + row[1] * y + row[2] + 0.5 for row in matrix)
    nearest = np.minimum(np.minimum(u, resolution - u), np.minimum(v, resolution - v))
    return np.clip(nearest / (resolution / 2), 0, 1).astype(np.float32)


def _mask(distance: np.ndarray) -> np.ndarray:
    """A smooth step: 0 up to the margin, 1 behind the feather."""
    x = np.clip((distance / 2 - _MARGIN) / FEATHER, 0, 1)
    return x * x * (3 - 2 * x)


def paste_faces(
    photo: np.ndarray, faces: Sequence[np.ndarray], matrices: Sequence[np.ndarray]
) -> np.ndarray:
    """Pastes restored faces into a photo.

    Where crops overlap, each pixel belongs mostly to the crop in whose middle it lies: the order
    of the faces does not matter.

    Args:
        photo: (H, W, 3), uint8 or uint16; not changed.
        faces: (R, R, 3) each, of the photo's type.
        matrices: (2, 3) each, from the photo's pixels to the crop's.

    Returns:
        A new photo; pixels outside the masks are those of the old one.
    """
    result = photo.copy()
    levels = np.iinfo(photo.dtype).max
    for face, matrix in zip(faces, matrices, strict=True):
        resolution = len(face)
        box = region(matrix, resolution, photo.shape)
        left, top, right, bottom = box
        if right <= left or bottom <= top:
            continue
        distance = _inner_distance(matrix, resolution, box)
        rivals = np.zeros_like(distance)
        for other_face, other in zip(faces, matrices, strict=True):
            rivals += _inner_distance(other, len(other_face), box) ** _SHARPNESS
        weight = _mask(distance) * (distance**_SHARPNESS / np.maximum(rivals, 1e-12))
        back = invert(matrix)
        back[:, 2] -= (left, top)
        size = right - left, bottom - top
        pasted = warp(face.astype(np.float32), back, size, cv2.BORDER_REPLICATE)
        rows, columns = slice(top, bottom), slice(left, right)
        # Towards the old photo's pixels: with weights that add up to 1 at most, the sum over all
        # faces is a mean of them and the photo.
        change = weight[..., None] * (pasted - photo[rows, columns])
        mixed = result[rows, columns] + change
        touched = weight[..., None] > 0
        rounded = np.clip(np.rint(mixed), 0, levels).astype(photo.dtype)
        result[rows, columns] = np.where(touched, rounded, result[rows, columns])
    return result


def enlarges(matrix: np.ndarray) -> bool:
    """Returns whether the crop has fewer pixels than the face in the photo: pasting blurs it."""
    return scale_of(matrix) < 1
