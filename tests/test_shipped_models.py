"""The tiny models in the package do what the ablation needs of them, on people they never saw."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors import safe_open

from datamodules.portraits import render_portrait
from lightning_modules.stand_ins import pair_accuracy
from osdface.checkpoints.export import load_vre
from osdface.degradation import build_degradation, degrade
from osdface.losses import build_loss
from osdface.networks.base import load_base
from osdface.networks.identity import load_identity
from osdface.networks.perceptual import load_trunk
from osdface.networks.quantizer import squared_distances
from osdface.paths import assets_dir

SEED = 7  # not the population of the pretraining


def to_tensor(images: list[np.ndarray]) -> torch.Tensor:
    """uint8 RGB pictures to (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module")
def portraits() -> list[np.ndarray]:
    return [render_portrait(SEED, person, 0, 64).image for person in range(16)]


@pytest.fixture(scope="module")
def degraded(portraits) -> torch.Tensor:
    recipe = build_degradation({"preset": "waveface", "strength_scale": 0.35})
    return to_tensor([degrade(p, recipe, 0, 0, str(n)) for n, p in enumerate(portraits)])


def psnr(restored: torch.Tensor, target: torch.Tensor) -> float:
    error = (restored.clamp(-1, 1) - target).square().mean((1, 2, 3)) / 4
    return float((-10 * error.log10()).mean())


def test_all_are_safetensors_or_json_and_at_most_25_megabytes() -> None:
    files = [path for path in assets_dir().rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}
    assert sum(path.stat().st_size for path in files) <= 25e6
    assert (assets_dir() / "README.md").is_file()


@torch.no_grad()
def test_vae_round_trip_is_4_db_above_the_degraded_input(portraits, degraded) -> None:
    codec = load_base(assets_dir() / "base").codec
    hq = to_tensor(portraits)
    assert psnr(codec.roundtrip(hq), hq) >= psnr(degraded, hq) + 4


@torch.no_grad()
def test_base_predicts_noise(portraits) -> None:
    """Better than the best constant, 0, whose error is 1, and more so at high noise."""
    base = load_base(assets_dir() / "base")
    latent = base.codec.encode(to_tensor(portraits))
    assert abs(float(latent.std()) - 1) < 0.25  # the schedule assumes unit variance
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    errors = []
    for t in (100, 399, 800):
        a = base.alphas_cumprod[t].float()
        noisy = a.sqrt() * latent + (1 - a).sqrt() * noise
        prompt = torch.zeros(len(latent), 1, base.prompt_dim)
        predicted = base.unet(noisy, t, encoder_hidden_states=prompt).sample
        errors.append(float((predicted - noise).square().mean()))
    assert errors[0] > errors[1] > errors[2] and errors[1] < 0.35


@torch.no_grad()
def test_images_have_more_than_77_distinct_entries(portraits, degraded) -> None:
    """Only then does the selection of the nearest 77 select anything."""
    embedder = load_vre(assets_dir() / "vre")
    assert embedder.config.entries >= 256
    tokens = embedder.tokens(degraded)
    assert tokens.shape[1] == 256
    nearest = squared_distances(tokens, embedder.codebook).argmin(-1)
    distinct = [len(row.unique()) for row in nearest]
    assert max(distinct) > 77 and np.mean(distinct) > 50
    prompts = embedder(degraded)
    assert (prompts[int(np.argmax(distinct))].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("name", ["tiny_a", "tiny_b"])
def test_identity_networks_tell_strangers_apart(name) -> None:
    people = [(person, view) for person in range(24) for view in range(3)]
    images = to_tensor([render_portrait(SEED, *each, 64).image for each in people])
    with torch.no_grad():
        figures = pair_accuracy(
            load_identity(name)(images), torch.tensor([person for person, _ in people])
        )
    assert figures["accuracy"] > 0.95 and figures["same"] > figures["different"] + 0.4


def test_the_two_identity_networks_are_not_one() -> None:
    files = [assets_dir() / f"identity_{letter}.safetensors" for letter in "ab"]
    assert files[0].read_bytes() != files[1].read_bytes()


def _blur(image: np.ndarray, amount: int) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(image, (0, 0), 0.4 * amount)


def _noise(image: np.ndarray, amount: int) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(0, 6 * amount, image.shape)
    return np.clip(image + drawn, 0, 255).astype(np.uint8)


def _jpeg(image: np.ndarray, amount: int) -> np.ndarray:
    import cv2

    quality = (80, 40, 20, 8)[amount - 1]
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


@pytest.mark.parametrize("damage", [_blur, _noise, _jpeg])
@pytest.mark.parametrize("loss", ["dists", "lpips"])
@torch.no_grad()
def test_perceptual_distance_rises_with_every_damage(damage, loss, portraits) -> None:
    distance = build_loss(loss, trunk=load_trunk("tiny"))
    hq = to_tensor(portraits)
    found = [float(distance(hq, hq))]
    for amount in (1, 2, 3, 4):
        found.append(float(distance(to_tensor([damage(p, amount) for p in portraits]), hq)))
    assert found[0] < 1e-3
    assert all(a < b for a, b in pairwise(found)), found


@pytest.mark.parametrize("file", ["identity_a", "identity_b", "perceptual"])
def test_stand_ins_say_how_they_were_made(file) -> None:
    with safe_open(assets_dir() / f"{file}.safetensors", framework="pt") as opened:
        notes = opened.metadata()
    assert "experiments.run experiment=pretrain_" in notes["command"] and notes["figures"]
