"""Metrics against plain per-image computations."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image import StructuralSimilarityIndexMeasure

from osdface.errors import UserError
from osdface.losses import build_loss
from osdface.metrics import (
    IdentitySimilarity,
    PerceptualDistance,
    PixelMetrics,
    RestorationMetrics,
)
from osdface.networks.identity import IdentityEncoder
from osdface.networks.tiny_perceptual import TinyPerceptualNetwork


class MeanColour(nn.Module):
    """An embedding whose angles can be chosen: the mean colour."""

    def forward(self, x):
        return x.mean((2, 3))


@pytest.fixture
def encoder():
    return IdentityEncoder(MeanColour(), "colours", is_stand_in=True)


@pytest.fixture
def images():
    torch.manual_seed(0)
    target = torch.rand(5, 3, 24, 20) * 2 - 1
    noise = torch.randn(5, 3, 24, 20) * torch.tensor([0.01, 0.1, 0.3, 0.6, 1.0]).view(5, 1, 1, 1)
    return target + noise, target


def colours(angles):
    """Images (B, 3, 4, 4) whose mean colours have these angles in the red-green plane."""
    rgb = [[math.cos(a), math.sin(a), 0.0] for a in angles]
    return torch.tensor(rgb)[:, :, None, None].expand(-1, -1, 4, 4) * 0.9


def test_pixel_metrics_are_means_over_images(images):
    metric = PixelMetrics()
    for restored, target in zip(*(part.split(2) for part in images), strict=True):
        metric.update(restored, target)
    x, y = ((np.clip(part.double().numpy(), -1, 1) + 1) / 2 for part in images)
    psnr = np.mean([10 * np.log10(1 / np.mean((a - b) ** 2)) for a, b in zip(x, y, strict=True)])
    ssim = [
        StructuralSimilarityIndexMeasure(data_range=1.0)(*torch.tensor(np.stack([a, b]))[:, None])
        for a, b in zip(x, y, strict=True)
    ]
    found = metric.compute()
    assert found["psnr"] == pytest.approx(psnr, rel=1e-6)
    assert found["l1"] == pytest.approx(np.abs(x - y).mean(), rel=1e-6)
    assert found["ssim"] == pytest.approx(float(np.mean(ssim)), rel=1e-4)
    # The PSNR of the mean error, which is not what is wanted, is far away.
    assert abs(10 * np.log10(1 / np.mean((x - y) ** 2)) - psnr) > 1


def test_identity_angle_is_the_mean_of_the_angles(encoder):
    metric = IdentitySimilarity(encoder)
    angles = [0.0, 1e-4, 0.5, 2.0]
    metric.update(colours([0.3 + a for a in angles]), colours([0.3] * 4))
    found = metric.compute()
    assert found["identity"] == pytest.approx(np.mean(np.cos(angles)), abs=1e-6)
    assert found["identity_angle"] == pytest.approx(np.degrees(np.mean(angles)), abs=1e-4)
    assert abs(found["identity_angle"] - math.degrees(math.acos(found["identity"]))) > 1


def test_perceptual_distance_does_not_depend_on_batches(images):
    network = TinyPerceptualNetwork((4, 8)).requires_grad_(False)
    loss = build_loss("ea_lpips", network)

    class WithoutPerImage(nn.Module):
        def forward(self, restored, target):
            return loss(restored, target)

    single = [float(loss(x, y)) for x, y in zip(*(p.split(1) for p in images), strict=True)]
    for module in (loss, WithoutPerImage()):
        metric = PerceptualDistance(module)
        for restored, target in zip(*(part.split(3) for part in images), strict=True):
            metric.update(restored, target)
        assert metric.compute()["perceptual"] == pytest.approx(np.mean(single), rel=1e-5)
    assert metric.specification() == {"perceptual": "WithoutPerImage"}


def test_restoration_metrics_hold_all_figures_and_say_what_they_depend_on(images, encoder):
    network = TinyPerceptualNetwork((4, 8)).requires_grad_(False)
    loss = build_loss("dists", network)
    metric = RestorationMetrics(loss, encoder)
    metric.update(*images)
    found = metric.compute()
    assert list(found) == ["psnr", "ssim", "perceptual", "identity", "identity_angle", "l1"]
    assert all(type(value) is float for value in found.values())
    clamped = [part.clamp(-1, 1) for part in images]
    parts = [PixelMetrics(), PerceptualDistance(loss), IdentitySimilarity(encoder)]
    for part in parts:
        part.update(*clamped)
        for name, value in part.compute().items():
            assert found[name] == pytest.approx(value, rel=1e-9)
    words = metric.specification()
    assert list(words) == list(found)
    assert words["perceptual"] == "dists on tiny_perceptual (stand-in)"
    assert "colours (stand-in)" in words["identity"] and "colours" in words["identity_angle"]
    assert list(RestorationMetrics(None, None).specification()) == ["psnr", "ssim", "l1"]


def test_uneven_ranks_add_up(images):
    whole, *ranks = (PixelMetrics() for _ in range(3))
    for metric, part in zip((whole, *ranks), (slice(None), slice(0, 2), slice(2, 5)), strict=True):
        metric.update(images[0][part], images[1][part])
    ranks[0].merge_state(ranks[1])
    assert ranks[0].compute() == pytest.approx(whole.compute(), rel=1e-9)


def test_reset_copy_and_precision(images):
    metric = PixelMetrics()
    metric.update(*images)
    other = copy.deepcopy(metric).float()
    assert other.total.dtype == torch.float64 and other.compute() == metric.compute()
    metric.reset()
    metric.update(images[1], images[1])
    assert metric.compute() == pytest.approx({"psnr": 100.0, "ssim": 1.0, "l1": 0.0}, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_mistakes_are_user_errors(images):
    with pytest.raises(UserError, match="saw no image"):
        PixelMetrics().compute()
    with pytest.raises(UserError, match="differ in shape"):
        PixelMetrics().update(images[0], images[1][..., :12])
