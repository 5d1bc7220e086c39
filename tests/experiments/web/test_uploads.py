"""Strangers' files: a picture or a sentence, and nothing of the file's metadata."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from experiments.web.uploads import read_upload
from osdface.errors import UserError
from tests.experiments.web.conftest import portrait
from tests.experiments.web.malformed import encoded, malformed

MOST = 4_000_000
FILES = malformed()


@pytest.mark.parametrize("name", FILES)
def test_a_malformed_file_is_read_or_answered(name):
    data, answer = FILES[name]
    if not answer:
        assert read_upload(data, MOST).rgb.dtype == np.uint8
        return
    with pytest.raises(UserError, match=answer) as caught:
        read_upload(data, MOST)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "/" not in sentence and "0x" not in sentence


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_cut_anywhere_it_is_read_or_answered(kind):
    data = encoded(Image.fromarray(portrait(2)), kind)
    for end in np.linspace(1, len(data) - 1, 40).astype(int):
        try:
            assert read_upload(data[:end], MOST).rgb.shape == (64, 64, 3)
        except UserError as error:
            assert "wrong on the server" not in str(error)


def test_damaged_anywhere_it_is_read_or_answered():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        data = np.frombuffer(encoded(Image.fromarray(portrait(2)), kind), np.uint8)
        for _ in range(40):
            broken = data.copy()
            places = rng.integers(0, min(len(data), 600), 8)
            broken[places] = rng.integers(0, 256, 8)
            try:
                read_upload(broken.tobytes(), MOST)
            except UserError as error:
                assert str(error).endswith(".")


def test_a_photo_is_turned_upright_and_its_exif_is_gone():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = 255
    upload = read_upload(encoded(Image.fromarray(image), "PNG", exif=exif), MOST)
    assert upload.rgb.shape == (60, 40, 3)
    assert upload.rgb[10, 20, 0] == 255 and upload.rgb[50, 20, 0] == 0


def test_a_colour_profile_is_applied():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(portrait(1))
    same = read_upload(encoded(image, "PNG", icc_profile=profile), MOST).rgb
    assert np.abs(same.astype(int) - portrait(1)).max() <= 1
    lab = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()).getvalue()
    other = read_upload(encoded(image, "PNG", icc_profile=lab), MOST).rgb
    assert np.array_equal(other, portrait(1))


def test_what_is_see_through_becomes_white():
    image = np.zeros((32, 32, 4), np.uint8)
    image[:, 16:, 3] = 255
    upload = read_upload(encoded(Image.fromarray(image), "PNG"), MOST)
    assert upload.rgb[0, 0].tolist() == [255] * 3 and upload.rgb[0, 20].tolist() == [0] * 3
    assert "white" in upload.notes[0]
