"""Photographs from disk: every usual kind read as upright RGB."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from osdface.pictures import Picture, UnreadablePicture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_ORIENTATION = 0x0112
# How EXIF's orientation is undone: quarter turns counter-clockwise, then mirrored left to right.
_TURNS = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}


def _deep(data: bytes, image: Image.Image) -> np.ndarray | None:
    """The pixels of a picture with 16 bits a channel, which PIL reads with 8; else None."""
    if image.format == "PNG" and data[24:25] != b"\x10":
        return None
    if image.format not in ("PNG", "TIFF"):
        return None
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        return None
    return array if array.ndim == 2 else np.concatenate([array[..., 2::-1], array[..., 3:]], -1)


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    turns, mirrored = _TURNS.get(orientation, (0, 0))
    array = np.rot90(array, turns)
    return np.ascontiguousarray(array[:, ::-1] if mirrored else array)


def _from_cmyk(image: Image.Image) -> Image.Image:
    """CMYK by its profile where it brings one, else by the plain formula."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def _read(data: bytes) -> Picture:
    image: Image.Image = Image.open(io.BytesIO(data))
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of {frames} frames")
    profile = image.info.get("icc_profile")
    deep = _deep(data, image)
    if deep is not None:
        deep = _upright(deep, image.getexif().get(_ORIENTATION, 1))
        if deep.ndim == 2:
            return Picture(np.stack([deep] * 3, -1), None, True, profile, notes)
        alpha = np.ascontiguousarray(deep[..., 3]) if deep.shape[2] == 4 else None
        return Picture(np.ascontiguousarray(deep[..., :3]), alpha, False, profile, notes)
    if image.mode in ("F", "I"):
        raise UnreadablePicture("its pixels are neither of 8 nor of 16 bits")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK":
        image, profile = _from_cmyk(image), None
        notes.append("CMYK, written as RGB")
    gray = image.mode in ("1", "L", "LA", "La")
    see_through = "A" in image.getbands() or "transparency" in image.info
    full = np.asarray(image.convert("RGBA" if see_through else "RGB"))
    alpha = np.ascontiguousarray(full[..., 3]) if see_through else None
    return Picture(np.ascontiguousarray(full[..., :3]), alpha, gray, profile, notes)


def read_picture(path: str | Path) -> Picture:
    """Reads a photograph: gray, RGB, CMYK, palette, with alpha, of 8 or 16 bits, upright.

    Of an animation it is the first frame.

    Raises:
        UnreadablePicture: It is missing, no picture, cut off, or of a kind that is not read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadablePicture(f"There is no file {path}.") from None
    except OSError as error:
        raise UnreadablePicture(f"{path} cannot be read: {error}.") from error
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str) -> Picture:
    """Reads a photograph from a file's bytes; see :func:`read_picture`.

    Args:
        data: The file's bytes.
        name: What an error calls the file.
    """
    try:
        return _read(data)
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{name} cannot be read: {error}.") from None
    # PIL raises what its many decoders raise, SyntaxError for broken PNG files among it.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = "it is no picture" if isinstance(error, Image.UnidentifiedImageError) else error
        raise UnreadablePicture(f"{name} cannot be read: {reason}.") from error
