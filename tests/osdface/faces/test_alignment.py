"""Geometry of the crops, against plain least squares and loops over pixels."""

import cv2
import numpy as np
import pytest

from osdface.faces.alignment import compose, crop_face, face_matrix, invert, region, scale_of, warp
from osdface.networks.alignment import FFHQ_TEMPLATE

TEMPLATE = np.array(FFHQ_TEMPLATE)


def similarity(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    a, b = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[a, -b, x], [b, a, y]])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def naive_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solves for (a, b, x, y) of u = a x - b y + tx, v = b x + a y + ty."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        wanted += [u, v]
    a, b, x, y = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    return np.array([[a, -b, x], [b, a, y]])


@pytest.mark.parametrize("degrees", [0, 17, -60, 180])
def test_a_similarity_is_recovered(degrees) -> None:
    true = similarity(0.31, degrees, 80, -12)
    found = face_matrix(moved(TEMPLATE, true), 512)
    np.testing.assert_allclose(compose(found, true), [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_noisy_points_are_fitted_as_by_least_squares() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (5, 2))
    points = moved(TEMPLATE, similarity(0.4, 12, 50, 60)) + noise
    np.testing.assert_allclose(face_matrix(points, 512), naive_similarity(points, TEMPLATE))


def test_borders_coincide_at_every_resolution() -> None:
    points = moved(TEMPLATE, similarity(0.4, 12, 50, 60))
    border = np.array([-0.5, -0.5])
    for resolution in (64, 128, 512):
        back = invert(face_matrix(points, resolution))
        far = np.array([resolution - 0.5] * 2)
        np.testing.assert_allclose(
            moved(border, back), moved(border, invert(face_matrix(points, 512)))
        )
        np.testing.assert_allclose(
            moved(far, back), moved(np.array([511.5] * 2), invert(face_matrix(points, 512)))
        )


def test_crop_of_an_aligned_face_is_the_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    np.testing.assert_array_equal(crop_face(image, face_matrix(TEMPLATE, 512), 512), image)


def test_crop_equals_the_loop_over_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (90, 120, 3), np.uint16)
    matrix = similarity(1.0, 30, 5, -20)
    found = crop_face(image, matrix, 32).astype(float)
    back = invert(matrix)
    for v in range(0, 32, 5):
        for u in range(0, 32, 5):
            x, y = moved(np.array([u, v], float), back)
            if not (0 <= x < 118 and 0 <= y < 88):
                continue
            i, j, p, q = int(y), int(x), y - int(y), x - int(x)
            square = image[i : i + 2, j : j + 2].astype(float)
            expected = (1 - p) * ((1 - q) * square[0, 0] + q * square[0, 1]) + p * (
                (1 - q) * square[1, 0] + q * square[1, 1]
            )
            # OpenCV samples on a grid of 1/32 pixel.
            assert np.abs(found[v, u] - expected).max() < 65536 / 16


def test_a_large_face_does_not_alias() -> None:
    """A chessboard of single pixels becomes gray, not moire."""
    x, y = np.meshgrid(np.arange(640), np.arange(640))
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    crop = crop_face(board, similarity(0.11, 20, 0, 0), 48)
    assert np.abs(crop[4:-4, 4:-4].astype(int) - 127).max() <= 3


def test_outside_the_photo_lies_its_mirror_image() -> None:
    image = np.arange(40, dtype=np.uint8).repeat(3).reshape(1, 40, 3).repeat(40, 0)
    crop = crop_face(image, similarity(1, 0, 10, 0), 30)  # 10 pixels beyond the left border
    np.testing.assert_array_equal(crop[0, :, 0], np.abs(np.arange(30) - 10))


def test_a_crop_wholly_outside_does_not_fail() -> None:
    image = np.full((20, 20, 3), 7, np.uint8)
    assert (crop_face(image, similarity(1, 0, 500, 500), 16) == 7).all()


def test_region_holds_every_pixel_of_the_crop() -> None:
    matrix = similarity(1.7, 33, -40, 25)
    left, top, right, bottom = region(matrix, 64, (200, 300))
    y, x = np.mgrid[:200, :300]
    inside = moved(np.stack([x, y], -1).reshape(-1, 2).astype(float), matrix)
    inside = ((inside > -0.5) & (inside < 63.5)).all(1).reshape(200, 300)
    assert inside.any()
    assert inside[top:bottom, left:right].sum() == inside.sum()
    assert region(matrix, 64, (10, 10), margin=3) == region(matrix, 64, (10, 10), margin=3)


def test_warp_scale() -> None:
    assert scale_of(similarity(0.37, 77, 3, 4)) == pytest.approx(0.37)
    flat = np.full((50, 60), 9.0, np.float32)
    assert (warp(flat, similarity(0.2, 10, 5, 5), (8, 8), cv2.BORDER_REPLICATE) == 9).all()
