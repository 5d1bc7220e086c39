"""The few lines most people want: any image in, the same kind out, whatever its neighbours."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.portraits import render_portrait
from osdface import Restorer
from osdface.degradation import build_degradation, degrade
from osdface.devices import exact_inference
from osdface.errors import UserError
from osdface.image_inputs import fit, to_bytes, unfit
from osdface.networks.selection import select_entries

RECIPE = build_degradation({"preset": "waveface", "strength_scale": 0.35})


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def portraits() -> list[np.ndarray]:
    return [render_portrait(7, person, 0, 64).image for person in range(6)]


@pytest.fixture(scope="module")
def degraded(portraits) -> list[np.ndarray]:
    return [degrade(image, RECIPE, 0, 0, str(n)) for n, image in enumerate(portraits)]


@pytest.fixture(scope="module")
def lq(degraded) -> torch.Tensor:
    return torch.from_numpy(np.stack(degraded)).permute(0, 3, 1, 2) / 127.5 - 1


def psnr(images: list[np.ndarray], targets: list[np.ndarray]) -> float:
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(images, targets, strict=True)]
    return float(np.mean(10 * np.log10(255**2 / np.array(errors))))


def test_the_shipped_one_restores_drawn_portraits(restorer, degraded, portraits) -> None:
    restored = restorer.restore(degraded).images
    assert psnr(restored, portraits) > psnr(degraded, portraits) + 1.5


def test_equals_the_generators_own_pass(restorer, lq) -> None:
    out = restorer.restore(lq)
    with torch.no_grad():
        expected = restorer.generator(lq).image.clamp(-1, 1)
        embedder = restorer.generator.prompt_source.embedder
        entries = select_entries(embedder.tokens(lq), embedder.codebook, 77)
    torch.testing.assert_close(out.images, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(out.tokens, entries, atol=0, rtol=0)
    assert out.tokens.shape == (6, 77, 64) and out.tokens.dtype == torch.float32
    assert not any("lora" in name for name, _ in restorer.generator.named_parameters())


def test_a_picture_depends_on_itself_alone(restorer, lq) -> None:
    """Order, neighbours, batch size and what was restored before change nothing."""
    whole = restorer.restore(lq, batch_size=6)
    turned = restorer.restore(lq.flip(0), batch_size=4)
    torch.testing.assert_close(turned.images.flip(0), whole.images, atol=1e-4, rtol=0)
    assert torch.equal(turned.tokens.flip(0), whole.tokens)
    torch.manual_seed(5)
    again = restorer.restore(lq, batch_size=6)
    assert torch.equal(again.images, whole.images)
    for number in range(2):
        alone = restorer.restore(lq[number])
        torch.testing.assert_close(alone.image, whole.images[number], atol=1e-4, rtol=0)


def test_loading_and_restoring_draw_no_random_numbers(lq) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Restorer.from_pretrained("tiny", device="cpu").restore(lq[0])
    assert torch.equal(torch.rand(2), expected)


def test_every_type_comes_back_as_itself(restorer, degraded, lq, tmp_path) -> None:
    image = degraded[0]
    expected = to_bytes(restorer.restore(lq[0]).image)
    Image.fromarray(image).save(tmp_path / "a.png")

    pil = restorer.restore(Image.fromarray(image)).image
    assert isinstance(pil, Image.Image)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert isinstance(restorer.restore(path).image, Image.Image)
        assert restorer.restore(path).image.tobytes() == pil.tobytes()
    array = restorer.restore(image).image
    assert array.dtype == np.uint8
    floats = restorer.restore(image.astype(np.float64) / 255).image
    assert floats.dtype == np.float64 and floats.min() >= 0 and floats.max() <= 1
    tensor = restorer.restore(lq[0].double()).image
    assert tensor.dtype == torch.float64 and tensor.shape == (3, 64, 64)
    arrays = (np.asarray(pil), array, np.rint(floats * 255), to_bytes(tensor))
    for found in arrays:
        assert np.abs(found.astype(int) - expected).max() <= 1

    mixed = restorer.restore([image, lq[1], Image.fromarray(degraded[2])], batch_size=2)
    assert [type(each).__name__ for each in mixed.images] == ["ndarray", "Tensor", "Image"]
    assert mixed.tokens.shape[0] == 3
    batch = restorer.restore(np.stack(degraded[:2]))
    assert len(batch.images) == 2 and batch.images[0].shape == (64, 64, 3)
    assert restorer.restore(image[..., 0]).image.shape == (64, 64, 3)  # gray
    assert restorer.restore([]).images == [] and restorer.restore([]).tokens is None
    with pytest.raises(ValueError, match="2 images"):
        _ = batch.image


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (40, 40), (200, 200), (90, 50)])
def test_any_size(height, width, restorer) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    model_size = restorer.restore(image).image
    assert max(model_size.shape[:2]) == 64
    assert abs(model_size.shape[0] / model_size.shape[1] - height / width) < 0.05
    assert restorer.restore(image, original_size=True).image.shape == image.shape


@pytest.mark.parametrize("shape", [(64, 64), (30, 64), (64, 31)])
def test_padding_is_taken_off_again(shape) -> None:
    image = torch.rand(3, *shape) * 2 - 1
    there = fit(image, 64)
    assert there.shape == (1, 3, 64, 64)
    assert torch.equal(unfit(there[0], *shape, original_size=True), image)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("gone.png", "There is no file gone.png"),
        (np.zeros((8, 8, 4), np.uint8), "not \\(8, 8, 4\\)"),
        (np.zeros((8, 8, 3), np.int64), "uint8 or floats"),
        (np.full((8, 8, 3), 200.0), "divide bytes by 255"),
        (np.full((8, 8, 3), np.nan), "lies in"),
        (torch.zeros(8, 8, 3), "not \\(8, 8, 3\\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "floats in"),
        (torch.full((3, 8, 8), 200.0), "x / 127.5 - 1"),
        (7, "int is no image"),
    ],
)
def test_a_wrong_image_is_one_sentence(image, expected, restorer) -> None:
    with pytest.raises(UserError, match=expected):
        restorer.restore(image)


def test_a_wrong_batch_size_is_one_sentence(restorer, lq) -> None:
    with pytest.raises(UserError, match="batch_size=0"):
        restorer.restore(lq, batch_size=0)


def test_half_precision_keeps_the_prompt(lq) -> None:
    """UNet and VAE in bfloat16; the VRE's entries are those of float32, bit for bit."""
    half = Restorer.from_pretrained("tiny", device="cpu", dtype=torch.bfloat16)
    exact = Restorer.from_pretrained("tiny", device="cpu").restore(lq[:2])
    found = half.restore(lq[:2])
    assert half.generator.unet.dtype == torch.bfloat16
    assert torch.equal(found.tokens, exact.tokens)
    assert (found.images - exact.images).abs().max() < 0.1
    assert found.images.dtype == torch.float32


def test_results_may_go_into_a_computation_with_gradients(restorer, lq) -> None:
    weight = torch.ones((), requires_grad=True)
    (restorer.restore(lq[:1]).images * weight).sum().backward()
    assert weight.grad is not None


def test_settings_of_the_process_are_put_back() -> None:
    from torch.backends import cudnn

    before = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    with pytest.raises(ZeroDivisionError), exact_inference():
        assert cudnn.deterministic and not cudnn.benchmark
        _ = 1 / 0
    assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before


def test_importing_the_package_stays_light() -> None:
    code = "import osdface, sys; print('torch' in sys.modules, 'Restorer' in osdface.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
    with pytest.raises(ImportError):
        from osdface import Restorator  # type: ignore[attr-defined]  # noqa: F401
