"""Photographs of every usual kind: read upright, written without loss."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from osdface.picture_reading import read_picture
from osdface.pictures import Picture, UnreadablePicture, write_picture

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 9, 4), np.uint16)


def again(picture: Picture, folder) -> Picture:
    write_picture(folder / "out.png", picture)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    return read_picture(folder / "out.png")


def same(one: Picture, other: Picture) -> None:
    assert one.rgb.dtype == other.rgb.dtype and one.gray == other.gray
    np.testing.assert_array_equal(one.rgb, other.rgb)
    assert (one.alpha is None) == (other.alpha is None)
    if one.alpha is not None:
        np.testing.assert_array_equal(one.alpha, other.alpha)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp"])
def test_rgb(name, tmp_path) -> None:
    Image.fromarray(RGB).save(tmp_path / name, lossless=True)
    picture = read_picture(tmp_path / name)
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.alpha is None and not picture.gray and not picture.notes
    same(again(picture, tmp_path), picture)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_stays_gray(mode, tmp_path) -> None:
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.gray and (picture.rgb == picture.rgb[..., :1]).all()
    same(again(picture, tmp_path), picture)
    assert Image.open(tmp_path / "out.png").mode == "L"


def test_a_gray_picture_that_got_colours_is_written_by_its_brightness(tmp_path) -> None:
    picture = Picture(RGB, gray=True)
    expected = RGB @ (0.299, 0.587, 0.114)
    assert np.abs(again(picture, tmp_path).rgb[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept(mode, tmp_path) -> None:
    image = Image.fromarray(np.dstack([RGB, RGB[..., 1]])).convert(mode)
    image.save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.alpha, RGB[..., 1])
    assert picture.gray == (mode == "LA")
    same(again(picture, tmp_path), picture)
    assert Image.open(tmp_path / "out.png").mode == mode


def test_palette_with_transparency(tmp_path) -> None:
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "a.png", transparency=0)
    picture = read_picture(tmp_path / "a.png")
    wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(picture.rgb, wanted)
    np.testing.assert_array_equal(picture.alpha == 0, np.asarray(image) == 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_stay_sixteen(channels, suffix, tmp_path) -> None:
    array = DEEP[..., 0] if channels == 1 else DEEP[..., :channels]
    order = array if channels == 1 else np.concatenate([array[..., 2::-1], array[..., 3:]], -1)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), order)
    picture = read_picture(tmp_path / f"a.{suffix}")
    assert picture.rgb.dtype == np.uint16 and picture.levels == 65535
    assert picture.gray == (channels == 1)
    np.testing.assert_array_equal(picture.rgb[..., 0], array.reshape(6, 9, -1)[..., 0])
    if channels > 1:
        np.testing.assert_array_equal(picture.rgb, array[..., :3])
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, array[..., 3])
    same(again(picture, tmp_path), picture)
    assert np.abs(picture.rgb_bytes() - picture.rgb / 257).max() <= 0.5


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation, deep, tmp_path) -> None:
    """Against Pillow's own upright version."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    if deep:
        _with_deep_pixels(tmp_path / "a.png", exif)
        expected = expected.astype(np.uint16) * 257
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.rgb, expected)


def _with_deep_pixels(path, exif) -> None:
    """Writes RGB with 16 bits and puts the EXIF chunk in by hand: no writer does both."""
    import struct
    import zlib

    data = cv2.imencode(".png", (RGB[..., ::-1].astype(np.uint16) * 257))[1].tobytes()
    body = exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = b"eXIf" + body
    chunk = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data[:33] + chunk + data[33:])


def test_cmyk_becomes_rgb_and_says_so(tmp_path) -> None:
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    picture = read_picture(tmp_path / "a.jpg")
    assert np.abs(picture.rgb.astype(int) - flat).max() <= 4
    assert any("CMYK" in note for note in picture.notes)


def test_a_broken_cmyk_profile_does_no_harm(tmp_path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    image.save(tmp_path / "a.jpg", icc_profile=b"no profile")
    assert (read_picture(tmp_path / "a.jpg").rgb[..., 0] > 240).all()


def test_colour_profile_is_kept(tmp_path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=profile)
    assert again(read_picture(tmp_path / "a.png"), tmp_path).icc_profile == profile


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_of_an_animation_the_first_frame_and_it_says_so(name, tmp_path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], duration=50, lossless=True
    )
    picture = read_picture(tmp_path / name)
    assert (picture.rgb == (255, 0, 0)).all()
    assert picture.notes == ["the first of 3 frames"]


def test_what_cannot_be_read_is_one_sentence(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for suffix in ("png", "jpg", "webp", "tif", "gif"):
        data = io.BytesIO()
        image = Image.fromarray(noise)
        image.save(data, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
        (tmp_path / f"cut.{suffix}").write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    Image.fromarray(noise[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    paths = [*tmp_path.iterdir(), tmp_path / "gone.png"]
    assert len(paths) == 9
    for path in paths:
        with pytest.raises(UnreadablePicture, match=path.name) as error:
            read_picture(path)
        assert "\n" not in str(error.value)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    write_picture(tmp_path / "a.png", Picture(RGB))
    before = (tmp_path / "a.png").read_bytes()

    def full(*_args, **_options) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space"):
        write_picture(tmp_path / "a.png", Picture(255 - RGB))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_enlarged() -> None:
    picture = Picture(RGB, RGB[..., 0])
    assert picture.resized(1) is picture
    large = picture.resized(2.5)
    assert large.rgb.shape == (15, 22, 3) and large.alpha.shape == (15, 22)
