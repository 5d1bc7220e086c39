"""Pictures as data URIs, within a budget of bytes."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SMALL = 128  # pixels: up to here lossless, so that one sees what the network made
LARGEST = 768
QUALITY = 88


@dataclass
class Budget:
    """Bytes that may still be spent on pictures."""

    left: int

    def take(self, texts: list[str | None]) -> bool:
        """Spends the texts' length; returns False, and spends nothing, if it is too much."""
        size = sum(len(text) for text in texts if text)
        if size > self.left:
            return False
        self.left -= size
        return True


def data_uri(path: Path, largest: int = LARGEST) -> str | None:
    """Returns a picture as WebP in a data URI; None if it is missing or cannot be read."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    lossless = max(image.size) <= SMALL
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=lossless, quality=100 if lossless else QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
