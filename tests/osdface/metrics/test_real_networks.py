"""LPIPS and DISTS as the suites measure them: a real VGG16, released weights, real photographs.

The network is HED's VGG16, a stand-in; the formulas and their weights are the published ones.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from osdface.metrics.suites import SuiteSettings, build_suite
from osdface.networks.perceptual import load_trunk


@pytest.fixture(scope="module")
def photographs(shared_data):
    """Two faces of 96 px and the same blurred by a third of their size; in [-1, 1]."""
    pairs = []
    for file in sorted((shared_data / "data/faces/hq_512").glob("*"))[:2]:
        sharp = Image.open(file).convert("RGB").resize((96, 96), Image.Resampling.LANCZOS)
        pairs.append([sharp.resize((32, 32)).resize((96, 96)), sharp])
    levels = np.stack([[np.asarray(image) for image in pair] for pair in pairs], 1)
    images = torch.from_numpy(levels).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return images[0], images[1]


def released(shared_data, pooling):
    return load_trunk("vgg16_hed", shared_data / "data/weights", pooling).double()


def test_dists_is_the_formula_with_the_released_weights(shared_data, photographs) -> None:
    file = shared_data / "data/weights/perceptual/dists_alpha_beta.pt"
    weights = torch.load(file, map_location="cpu", weights_only=True)
    alpha, beta = (weights[name].double().flatten().numpy() for name in ("alpha", "beta"))
    trunk, wanted = released(shared_data, "l2"), []
    for pair in zip(*photographs, strict=True):
        sides = []
        for image in pair:
            x = (image[None].double() + 1) / 2
            sides.append([each[0].detach().flatten(1).numpy() for each in (x, *trunk(x))])
        terms, at = 0.0, 0
        for x, y in zip(*sides, strict=True):
            mx, my = x.mean(1), y.mean(1)
            vx, vy = (x**2).mean(1) - mx**2, (y**2).mean(1) - my**2
            structure = (2 * ((x * y).mean(1) - mx * my) + 1e-6) / (vx + vy + 1e-6)
            luminance = (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6)
            part = slice(at, at + len(x))
            terms += alpha[part] @ luminance + beta[part] @ structure
            at += len(x)
        wanted.append(1 - terms / (alpha.sum() + beta.sum()))
    settings = SuiteSettings("vgg16_hed", weights_dir=str(shared_data / "data/weights"))
    found = build_suite(["dists"], settings).per_image(*photographs)["dists"]
    assert found.tolist() == pytest.approx(wanted, abs=2e-6)
    assert min(wanted) > 0.05


def test_lpips_is_the_formula_with_the_released_heads(shared_data, photographs) -> None:
    folder = shared_data / "data/weights/perceptual/lpips_heads_v0.1"
    heads = torch.load(folder / "vgg.pth", map_location="cpu", weights_only=True)
    trunk, wanted = released(shared_data, "max"), []
    for pair in zip(*photographs, strict=True):
        total = 0.0
        sides = [trunk((image[None].double() + 1) / 2) for image in pair]
        for stage, (x, y) in enumerate(zip(*sides, strict=True)):
            x, y = (
                each[0] / (each[0].square().sum(0, keepdim=True).sqrt() + 1e-10) for each in (x, y)
            )
            head = heads[f"lin{stage}.model.1.weight"].double().view(-1, 1, 1)
            total += float(((x - y).square() * head).sum(0).mean())
        wanted.append(total)
    settings = SuiteSettings("vgg16_hed", weights_dir=str(shared_data / "data/weights"))
    found = build_suite(["lpips"], settings).per_image(*photographs)["lpips"]
    assert found.tolist() == pytest.approx(wanted, abs=5e-6)
    assert min(wanted) > 0.05
