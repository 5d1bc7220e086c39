"""What is pasted back, and what stays as it was."""

import cv2
import numpy as np
import pytest

from osdface.faces.alignment import compose, crop_face, face_matrix, scaling
from osdface.faces.pasting import paste_faces
from osdface.networks.alignment import FFHQ_TEMPLATE

R = 128


def photo(kind: type = np.uint8, height: int = 240, width: int = 320) -> np.ndarray:
    """Smooth, so that resampling there and back loses little."""
    noise = np.random.default_rng(0).uniform(0, 1, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (smooth * np.iinfo(kind).max).astype(kind)


def matrix_at(x: float, y: float, size: float, degrees: float = 0) -> np.ndarray:
    """A face whose crop is a square of ``size`` pixels around (x, y)."""
    a, b = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = (np.array(FFHQ_TEMPLATE) - 255.5) * (size / 512) @ np.array([[a, b], [-b, a]])
    return face_matrix(points + np.array([x, y]), R)


def inside(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels of the photo lie in the crop, by a plain loop's arithmetic."""
    found = np.zeros(shape[:2], bool)
    for y in range(shape[0]):
        u = matrix[0, 0] * np.arange(shape[1]) + matrix[0, 1] * y + matrix[0, 2]
        v = matrix[1, 0] * np.arange(shape[1]) + matrix[1, 1] * y + matrix[1, 2]
        found[y] = (u > -0.5) & (u < R - 0.5) & (v > -0.5) & (v < R - 0.5)
    return found


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [70, 128, 200])
def test_an_unrestored_crop_gives_the_photo_back(size, kind) -> None:
    image = photo(kind)
    matrix = matrix_at(170, 120, size, degrees=15)
    pasted = paste_faces(image, [crop_face(image, matrix, R)], [matrix])
    difference = np.abs(pasted.astype(float) - image) / np.iinfo(kind).max
    assert difference.max() < 0.03 and difference.mean() < 0.002
    outside = ~inside(matrix, image.shape)
    assert outside.any()
    np.testing.assert_array_equal(pasted[outside], image[outside])


def test_the_middle_is_the_face_and_the_border_is_the_photo() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    matrix = matrix_at(170, 120, R)
    pasted = paste_faces(image, [np.full((R, R, 3), 255, np.uint8)], [matrix])[..., 0]
    assert (pasted[100:140, 150:190] == 255).all()
    row = pasted[120].astype(int)
    first, last = np.flatnonzero(row)[[0, -1]]
    # The outermost 2 % never show; then it rises without a step.
    assert first >= 170 - 64 + 2 and last <= 170 + 63 - 2
    assert np.abs(np.diff(row)).max() < 40
    assert (np.diff(row[:170]) >= 0).all()


def test_photo_is_not_changed_and_a_face_outside_does_nothing() -> None:
    image = photo()
    before = image.copy()
    white = np.full((R, R, 3), 255, np.uint8)
    paste_faces(image, [white], [matrix_at(100, 100, 90)])
    np.testing.assert_array_equal(image, before)
    far = paste_faces(image, [white], [matrix_at(9000, 100, 90)])
    np.testing.assert_array_equal(far, image)


def test_overlapping_faces_do_not_depend_on_their_order() -> None:
    image = np.full((240, 320, 3), 100, np.uint8)
    faces = [np.full((R, R, 3), value, np.uint8) for value in (30, 220)]
    matrices = [matrix_at(120, 120, 120), matrix_at(190, 120, 120)]
    one = paste_faces(image, faces, matrices)
    other = paste_faces(image, faces[::-1], matrices[::-1])
    assert np.abs(one.astype(int) - other).max() <= 1
    assert (one[120, 115:125] == 30).all() and (one[120, 185:195] == 220).all()
    assert one.min() >= 30 and one.max() <= 220


def test_faces_land_where_they_belong_in_an_enlarged_photo() -> None:
    """Twice the size: the restored crop covers the same part of the scene, half a pixel and all."""
    image = photo()
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    matrix = matrix_at(170, 120, 64)
    crop = crop_face(image, matrix, R)
    pasted = paste_faces(large, [crop], [compose(matrix, scaling(0.5))])
    difference = np.abs(pasted.astype(int) - large)
    assert difference.max() <= 8 and difference.mean() < 0.5


def test_a_small_face_is_averaged_not_sampled() -> None:
    x, y = np.meshgrid(np.arange(R), np.arange(R))
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    image = np.full((100, 100, 3), 127, np.uint8)
    pasted = paste_faces(image, [board], [matrix_at(50, 50, 30)])
    assert np.abs(pasted.astype(int) - 127).max() <= 3
