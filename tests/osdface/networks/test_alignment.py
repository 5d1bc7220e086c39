"""ArcFace's crop against least squares and OpenCV's warp."""

import cv2
import numpy as np
import pytest
import torch

from osdface.networks.alignment import (
    ARCFACE_TEMPLATE,
    FFHQ_TEMPLATE,
    ArcFaceCrop,
    fit_similarity,
)


def test_similarity_is_the_least_squares_one():
    source, target = np.array(FFHQ_TEMPLATE), np.array(ARCFACE_TEMPLATE)
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):  # u = a x - b y + c, v = b x + a y + d
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(fit_similarity(source, target), [[a, -b, c], [b, a, d]], atol=1e-9)


@pytest.mark.parametrize("size", [64, 128, 512])
def test_crop_is_opencvs_warp_at_any_resolution(size):
    y, x = np.mgrid[:512, :512] / 511.0
    face = np.stack([np.sin(7 * x + 3 * y), np.cos(5 * y * x), np.sin(9 * y)], -1)
    wanted = cv2.warpAffine(
        cv2.GaussianBlur(face, (0, 0), 1.5),
        fit_similarity(FFHQ_TEMPLATE, ARCFACE_TEMPLATE),
        (112, 112),
        flags=cv2.INTER_LINEAR,
    )
    image = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    found = ArcFaceCrop()(torch.tensor(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert found.shape == (112, 112, 3)
    # A shift of one pixel of the crop would differ by 0.05.
    assert np.abs(found - wanted).max() < 0.012


def test_crop_passes_a_gradient():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    ArcFaceCrop()(x).sum().backward()
    assert (x.grad > 0).sum() >= 36  # the crop covers three quarters of either axis
