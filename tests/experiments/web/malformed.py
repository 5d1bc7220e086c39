"""Files that people and attackers upload, each with a part of the answer that it gets.

An empty answer means that the picture is restored.
"""

import io
import struct
import zipfile
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.experiments.web.conftest import portrait

NO_PICTURE = "no picture that can be read"
DAMAGED = "cannot be read"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims a large size."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, body) for name, body in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    )


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("face.png", b"x" * 1000)
    return buffer.getvalue()


def deep() -> bytes:
    done, data = cv2.imencode(".png", portrait(1)[..., ::-1].astype(np.uint16) * 257)
    assert done
    return data.tobytes()


def malformed() -> dict[str, tuple[bytes, str]]:
    """Returns file names, their bytes and what the answer holds."""
    face = Image.fromarray(portrait(1, 128))
    jpeg, png = encoded(face, "JPEG"), encoded(face, "PNG")
    flat, long = Image.new("RGB", (1, 1)), Image.new("RGB", (1, 5000))
    palette = face.quantize(32)
    frames = [face.rotate(angle).quantize() for angle in (0, 90, 180)]
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xee" * 300
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    files = {
        "empty.png": (b"", "is empty"),
        "empty.jpg": (b"", "is empty"),
        "text.png": (b"this is text, not a picture", NO_PICTURE),
        "cut.jpg": (jpeg[: len(jpeg) // 2], DAMAGED),
        "cut.png": (png[: len(png) // 2], DAMAGED),
        "cut.webp": (encoded(face, "WEBP")[:400], DAMAGED),
        "bomb.png": (bomb(30000, 30000), "far too large"),
        "large.png": (bomb(8000, 8000), "at most 4 million pixels"),
        "one.png": (encoded(flat, "PNG"), "each side needs at least"),
        "long.png": (encoded(long, "PNG"), "each side needs at least"),
        "panorama.png": (encoded(Image.new("RGB", (900, 20)), "PNG"), "times the other"),
        "cmyk.jpg": (encoded(face.convert("CMYK"), "JPEG"), ""),
        "deep.png": (deep(), ""),
        "palette.png": (encoded(palette, "PNG", transparency=3), ""),
        "moves.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), ""),
        "drawing.svg": (svg, NO_PICTURE),
        "paper.pdf": (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF", NO_PICTURE),
        "page.html": (b"<html><script>alert(1)</script></html>", NO_PICTURE),
        "many.zip": (zipped(), NO_PICTURE),
        "exif.jpg": (encoded(face, "JPEG", exif=exif), ""),
        "profile.jpg": (encoded(face, "JPEG", icc_profile=b"\xff\0garbage" * 40), ""),
        "wrong.bmp": (b"BM" + b"\xff" * 200, DAMAGED),
        "pages.tif": (encoded(face, "TIFF", save_all=True, append_images=[face]), ""),
        "floats.tif": (encoded(face.convert("F"), "TIFF"), "neither of 8 nor of 16 bits"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "HEIC"),
        "script.ps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", NO_PICTURE),
        "..%2F..%2Fetc%2Fpasswd\u202e g\u00e9sicht \U0001f600 <b>.png": (png, ""),
    }
    return files
