"""NIQE against a re-statement with NumPy and SciPy in float64, block by block."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.special import gamma

from osdface.errors import UserError
from osdface.metrics.niqe import Niqe

SHAPES = np.arange(0.2, 10.001, 0.001)
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))


def cubic(x: float) -> float:
    """Keys' kernel with a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def halving_matrix(size: int) -> np.ndarray:
    """MATLAB's imresize by 1/2 along one side, as a matrix; the border is mirrored."""
    matrix = np.zeros((size // 2, size))
    for row in range(size // 2):
        centre = 2 * row + 0.5
        for place in range(math.floor(centre) - 5, math.floor(centre) + 7):
            mirrored = -1 - place if place < 0 else place
            mirrored = 2 * size - 1 - mirrored if mirrored >= size else mirrored
            matrix[row, mirrored] += cubic((place - centre) / 2)
        matrix[row] /= matrix[row].sum()
    return matrix


def fit(x: np.ndarray) -> tuple[float, float, float]:
    left = math.sqrt(np.mean(x[x < 0] ** 2))
    right = math.sqrt(np.mean(x[x > 0] ** 2))
    g = left / right
    wanted = np.mean(np.abs(x)) ** 2 / np.mean(x**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    shape = SHAPES[np.argmin((RATIOS - wanted) ** 2)]
    scale = math.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def block_features(block: np.ndarray) -> list[float]:
    shape, left, right = fit(block)
    found = [shape, (left + right) / 2]
    for rows, columns in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = fit(block * np.roll(np.roll(block, rows, 0), columns, 1))
        found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return found


def naive_niqe(levels: np.ndarray, parameters: dict[str, np.ndarray]) -> float:
    """NIQE of one picture (H, W, 3) of bytes."""
    r, g, b = (levels[..., channel].astype(float) for channel in range(3))
    luma = np.round(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255)
    rows, columns = luma.shape[0] // 96, luma.shape[1] // 96
    luma = luma[: rows * 96, : columns * 96]
    window = parameters["gaussian_window"]
    scales = []
    for side in (96, 48):
        mean = ndimage.convolve(luma, window, mode="nearest")
        spread = np.sqrt(np.abs(ndimage.convolve(luma**2, window, mode="nearest") - mean**2))
        contrast = (luma - mean) / (spread + 1)
        blocks = [
            contrast[r * side : (r + 1) * side, c * side : (c + 1) * side]
            for r in range(rows)
            for c in range(columns)
        ]
        scales.append([block_features(block) for block in blocks])
        luma = halving_matrix(luma.shape[0]) @ luma @ halving_matrix(luma.shape[1]).T
    features = np.concatenate(scales, 1)
    covariance = (parameters["cov_pris_param"] + np.cov(features, rowvar=False)) / 2
    apart = features.mean(0) - parameters["mu_pris_param"].ravel()
    return math.sqrt(apart @ np.linalg.pinv(covariance) @ apart)


@pytest.fixture(scope="module")
def parameters(shared_data):
    return shared_data / "data/weights/iqa/niqe_pris_params.npz"


def tensor(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_real_photographs(parameters, shared_data) -> None:
    faces = shared_data / "data/faces"
    files = [
        *sorted((faces / "hq_512").glob("*"))[:2],
        *sorted((faces / "lq_real_512").glob("*"))[:1],
    ]
    held = dict(np.load(parameters))
    pictures = [np.asarray(Image.open(file).convert("RGB"))[100:330, 90:400] for file in files]
    wanted = [naive_niqe(picture, held) for picture in pictures]
    metric = Niqe(parameters)
    batch = torch.cat([tensor(picture) for picture in pictures])
    found = metric.per_image(batch)["niqe"].tolist()
    assert found == pytest.approx(wanted, rel=1e-6)
    assert max(wanted) - min(wanted) > 1  # and not one figure for all
    for image in batch.split(2):  # neither batches nor a target matter
        metric.update(image, image)
    assert metric.compute()["niqe"] == pytest.approx(np.mean(wanted), rel=1e-6)


def test_degraded_photographs_are_worse(parameters, shared_data) -> None:
    levels = np.asarray(
        Image.open(min((shared_data / "data/faces/hq_512").glob("*"))).convert("RGB")
    )
    blurred = ndimage.gaussian_filter(levels, (3, 3, 0))
    noise = np.random.default_rng(0).normal(0, 25, levels.shape)
    noisy = np.clip(levels + noise, 0, 255).astype(np.uint8)
    images = torch.cat([tensor(each[:288, :288]) for each in (levels, blurred, noisy)])
    best, blurred_figure, noisy_figure = Niqe(parameters).per_image(images)["niqe"].tolist()
    assert best + 1 < blurred_figure and best + 1 < noisy_figure


def test_flat_and_small_images(parameters, tmp_path) -> None:
    metric = Niqe(parameters)
    assert metric.per_image(torch.zeros(1, 3, 192, 96))["niqe"].isnan().all()
    with pytest.raises(UserError, match="two blocks of 96"):
        metric.update(torch.zeros(1, 3, 191, 96))
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    with pytest.raises(UserError, match="no parameters of NIQE"):
        Niqe(tmp_path / "other.npz")
