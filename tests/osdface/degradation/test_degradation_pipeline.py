"""The pipeline against a naive one: loops for blur and resampling, Pillow for JPEG."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from osdface.degradation import Parameters, apply, build_degradation, degrade, rng_for
from osdface.degradation.pipeline import _to_bytes, blur, compress, resize


def smooth_image(height, width, seed=0):
    """A picture with some structure, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [
        127 + 90 * np.sin(x / rng.uniform(2, 9) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(2, 9))
        for _ in range(3)
    ]
    return np.clip(np.stack(planes, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype("u1")


def naive_blur(image, kernel):
    radius = len(kernel) // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    result = np.zeros(image.shape)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            window = padded[row : row + 2 * radius + 1, column : column + 2 * radius + 1]
            result[row, column] = (window * kernel[::-1, ::-1, None]).sum((0, 1))
    return result


def naive_resize(image, height, width):
    def along(values, count):
        old = len(values)
        rows = []
        for position in range(count):
            source = min(max((position + 0.5) * old / count - 0.5, 0), old - 1)
            low = int(np.floor(source))
            high = min(low + 1, old - 1)
            rows.append((1 - (source - low)) * values[low] + (source - low) * values[high])
        return np.stack(rows)

    return along(along(image, height).swapaxes(0, 1), width).swapaxes(0, 1)


def naive_jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def naive_kernel(size, sigma_x, sigma_y, theta):
    offsets = np.arange(size) - size // 2
    x, y = np.meshgrid(offsets, offsets)
    u, v = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    kernel = np.exp(-(u**2) / 2 / sigma_x**2 - v**2 / 2 / sigma_y**2)
    return kernel / kernel.sum()


@pytest.mark.parametrize(("sigma_y", "theta"), [(None, 0.0), (0.8, 0.9)])
def test_blur(sigma_y, theta):
    image = smooth_image(20, 26).astype(np.float32) / 255
    parameters = Parameters(7, 2.0, sigma_y, theta, 1, 0, 90)
    expected = naive_blur(image, naive_kernel(7, 2.0, sigma_y or 2.0, theta))
    np.testing.assert_allclose(blur(image, parameters), expected, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.1, 2.5])
@pytest.mark.parametrize("aspect", [None, 0.1, 0.6])
def test_what_is_left_out_of_a_kernel_does_not_show(sigma, aspect):
    image = smooth_image(30, 34).astype(np.float32) / 255
    sigma_y = aspect and max(0.1, aspect * sigma)
    for theta in (0.0, 0.7, -2.2) if aspect else (0.0,):
        parameters = Parameters(41, sigma, sigma_y, theta, 1, 0, 90)
        kernel = naive_kernel(41, sigma, sigma_y or sigma, theta)
        expected = naive_blur(image.astype(np.float64), kernel)
        np.testing.assert_allclose(blur(image, parameters), expected, atol=1e-6)


def test_bytes_are_rounded_to_even_and_clipped():
    values = np.array([-0.7, -0.001, 0.0, 0.5 / 255, 1.5 / 255, 0.4, 1.0, 1.7], np.float32)
    image = np.broadcast_to(values[:, None, None], (8, 5, 3)).copy()
    expected = np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    np.testing.assert_array_equal(_to_bytes(image), expected)
    noise = np.random.default_rng(0).normal(0.5, 0.5, (64, 64, 3)).astype(np.float32)
    expected = np.rint(np.clip(noise, 0, 1) * np.float32(255)).astype(np.uint8)
    np.testing.assert_array_equal(_to_bytes(noise), expected)


@pytest.mark.parametrize(("height", "width"), [(7, 9), (31, 23), (20, 26)])
def test_resize_is_plain_linear(height, width):
    image = smooth_image(20, 26).astype(np.float32) / 255
    expected = naive_resize(image.astype(np.float64), height, width)
    np.testing.assert_allclose(resize(image, height, width), expected, atol=1e-5)


@pytest.mark.parametrize("quality", [30, 75, 100])
def test_jpeg_is_pillow_s_up_to_rounding(quality):
    image = smooth_image(32, 40)
    image[:, :, 2] //= 2  # so that swapped channels show
    result = compress(image.astype(np.float32) / 255, quality) * 255
    difference = np.abs(result - naive_jpeg(image, quality))
    assert difference.mean() < 1.0 and difference.max() < 25


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("down", [0.8, 2.3])
def test_whole_pipeline(down, gray):
    image = smooth_image(40, 40, seed=1)
    parameters = Parameters(5, 1.4, 0.6, 0.5, down, 4.0, 85, gray)
    blurred = naive_blur(image / 255, naive_kernel(5, 1.4, 0.6, 0.5))
    small = naive_resize(blurred, int(40 / down), int(40 / down))
    noise = np.random.default_rng(3).standard_normal(small.shape, dtype=np.float32)
    noisy = np.clip(np.round((small + noise * 4 / 255) * 255), 0, 255).astype(np.uint8)
    expected = naive_resize(naive_jpeg(noisy, 85).astype(float), 40, 40)
    if gray:
        expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)

    result = apply(image, parameters, np.random.default_rng(3))
    assert result.dtype == np.uint8 and result.shape == image.shape
    assert np.abs(result - expected).mean() < 1.0
    as_float = apply(image.astype(np.float32) / 255, parameters, np.random.default_rng(3))
    assert as_float.dtype == np.float32
    np.testing.assert_allclose(as_float * 255, result, atol=0.51)


def test_noise_has_the_stated_strength():
    image = np.full((256, 256, 3), 128, np.uint8)
    parameters = Parameters(3, 0.1, None, 0.0, 1.0, 10.0, 100)
    result = apply(image, parameters, np.random.default_rng(0)).astype(float)
    luma = result @ [0.299, 0.587, 0.114]  # JPEG thins out colour, not luma
    assert luma.std() == pytest.approx(10 * np.sqrt(0.299**2 + 0.587**2 + 0.114**2), rel=0.03)


def test_input_is_left_alone_and_small_images_survive():
    image = smooth_image(16, 16)
    before = image.copy()
    result = apply(image, Parameters(41, 9.0, None, 0.0, 30.0, 15.0, 40), np.random.default_rng(0))
    assert result.shape == (16, 16, 3)
    np.testing.assert_array_equal(image, before)


def test_degradation_depends_on_seed_epoch_and_key_alone():
    image, waveface = smooth_image(48, 48), build_degradation("waveface")
    first = degrade(image, waveface, 1, 2, "anna_0001")
    degrade(image, waveface, 1, 2, "somebody else")
    np.testing.assert_array_equal(first, degrade(image, waveface, 1, 2, "anna_0001"))
    for seed, epoch, key in ((2, 2, "anna_0001"), (1, 3, "anna_0001"), (1, 2, "anna_0002")):
        assert (degrade(image, waveface, seed, epoch, key) != first).any()


def test_each_epoch_draws_its_own_noise():
    always = {"kernel": 3, "sigma": 0.5, "down": 1, "noise": 9, "jpeg": 90, "anisotropic": 0}
    image, only_noise = smooth_image(32, 32), build_degradation(always)
    results = [degrade(image, only_noise, 0, epoch, "key") for epoch in range(3)]
    assert (results[0] != results[1]).any() and (results[1] != results[2]).any()


def test_generator_is_the_same_in_another_process():
    code = (
        "from osdface.degradation import rng_for; "
        "print(rng_for(3, 4, 'Zoë_0001', 'noise').integers(2**62))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert int(other.stdout) == rng_for(3, 4, "Zoë_0001", "noise").integers(2**62)


def test_parts_of_a_seed_are_kept_apart():
    assert rng_for(1, 11, "a").random() != rng_for(11, 1, "a").random()
    assert rng_for(1, 1, "ab", "c").random() != rng_for(1, 1, "a", "bc").random()
