"""What visitors upload: checked before it is decoded, refused with a sentence."""

import io
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from osdface.errors import UserError
from osdface.picture_reading import decode_picture

# Pillow's names. Its other decoders (EPS starts Ghostscript) are not for strangers' files.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
KINDS = "PNG, JPEG, WebP, BMP, TIFF or GIF"
LEAST_SIDE = 16
MOST_ELONGATED = 8
Image.init()  # else Image.open knows only some of them by name
_log = logging.getLogger(__name__)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")


@dataclass(frozen=True)
class Upload:
    """A visitor's picture.

    Attributes:
        rgb: (H, W, 3) uint8, upright, sRGB, without any of the file's metadata.
        notes: What the visitor should be told, such as "the first of 12 frames".
    """

    rgb: np.ndarray
    notes: list[str]


def read_upload(data: bytes, max_pixels: int) -> Upload:
    """Reads an uploaded file.

    Args:
        data: Its bytes.
        max_pixels: Largest width times height.

    Raises:
        UserError: It is empty, no picture of a kind that is read, damaged, or of a size or shape
            that is not worked on.
    """
    _check(data, max_pixels)
    try:
        picture = decode_picture(data, "The file")
    except UserError:
        raise
    except Exception as error:
        raise _damaged(error) from error
    rgb, notes = picture.rgb_bytes(), list(picture.notes)
    if picture.icc_profile:
        rgb = _to_srgb(rgb, picture.icc_profile)
    if picture.alpha is not None and (picture.alpha < picture.levels).any():
        opacity = (picture.alpha / picture.levels)[..., None]
        rgb = np.rint(rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)
        notes.append("what is see-through is shown on white")
    return Upload(np.ascontiguousarray(rgb), notes)


def _check(data: bytes, max_pixels: int) -> None:
    """Raises UserError on what need not be decoded to be refused."""
    if not data:
        raise UserError("The file is empty: choose another one.")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise UserError(f"HEIC and AVIF pictures are not read: save it as {KINDS}.")
    try:
        # Pillow reads the header alone here, and warns of large pictures, which are refused below.
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise UserError(f"The picture is far too large: at most {_mega(max_pixels)}.") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"The file is no picture that can be read: give {KINDS}.") from None
    except Exception as error:
        raise _damaged(error) from error
    size = f"The picture has {width} x {height} pixels"
    if width * height > max_pixels:
        raise UserError(f"{size}: at most {_mega(max_pixels)}, so make it smaller.")
    if min(width, height) < LEAST_SIDE:
        raise UserError(f"{size}: each side needs at least {LEAST_SIDE}.")
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise UserError(f"{size}: one side is more than {MOST_ELONGATED} times the other, cut it.")


def _to_srgb(rgb: np.ndarray, profile: bytes) -> np.ndarray:
    """Applies a colour profile; one that is damaged or of another colour space is left out."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target: Any = ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(Image.fromarray(rgb), source, target)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return rgb
    return rgb if found is None else np.asarray(found)


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:g} million pixels"


def _damaged(error: Exception) -> UserError:
    """Pillow's decoders raise anything on damaged files; the log tells it from our own mistakes."""
    _log.warning("a file that could not be decoded: %r", error)
    return UserError("The file cannot be read: it is damaged or cut off.")
