"""The edge operator against explicit loops."""

import math

import torch

from osdface.losses.edges import sobel_edges


def test_edges_are_the_sobel_magnitude_of_the_gray_image(pair):
    image = (pair[0] + 1) / 2
    found = sobel_edges(image)
    assert found.shape == (3, 1, 9, 8)
    kernel = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
    for b in range(3):
        gray = (image[b, 0] + image[b, 1] + image[b, 2]) / 3
        for r in range(9):
            for c in range(8):
                gx = gy = 0.0
                for i in range(3):
                    for j in range(3):
                        y, x = r + i - 1, c + j - 1
                        if 0 <= y < 9 and 0 <= x < 8:  # zeros outside
                            gx += kernel[i][j] * float(gray[y, x])
                            gy += kernel[j][i] * float(gray[y, x])
                assert math.isclose(float(found[b, 0, r, c]), math.sqrt(gx**2 + gy**2 + 1e-6))


def test_a_flat_image_has_no_inner_edge_and_a_finite_gradient():
    image = torch.full((1, 3, 5, 5), 0.5, requires_grad=True)
    edges = sobel_edges(image)
    torch.testing.assert_close(edges[0, 0, 1:-1, 1:-1], torch.full((3, 3), 1e-3))
    edges.sum().backward()
    assert image.grad.isfinite().all()
