"""A photograph in memory, and written as PNG without loss."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from osdface.errors import UserError
from osdface.files import atomic_path


class UnreadablePicture(UserError):
    """A file that is no picture, is cut off, or holds pixels of a kind that is not read."""


@dataclass
class Picture:
    """An upright picture.

    Attributes:
        rgb: (H, W, 3), uint8 or uint16.
        alpha: (H, W) of the same type, or None.
        gray: Whether it was gray; it is written gray again.
        icc_profile: Its colour profile, or None; kept, not applied.
        notes: What a viewer should be told, such as "the first of 12 frames".
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    gray: bool = False
    icc_profile: bytes | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def levels(self) -> int:
        """The largest value of a pixel: 255 or 65535."""
        return int(np.iinfo(self.rgb.dtype).max)

    def rgb_bytes(self) -> np.ndarray:
        """Returns (H, W, 3) uint8."""
        if self.rgb.dtype == np.uint8:
            return self.rgb
        return ((self.rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def resized(self, factor: float) -> "Picture":
        """Returns it enlarged by ``factor`` >= 1 with Lanczos, or itself at 1."""
        if factor == 1:
            return self
        size = tuple(max(1, round(side * factor)) for side in self.rgb.shape[1::-1])

        def resize(array: np.ndarray) -> np.ndarray:
            return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_LANCZOS4))

        alpha = None if self.alpha is None else resize(self.alpha)
        return replace(self, rgb=resize(self.rgb), alpha=alpha)


def write_picture(path: str | Path, picture: Picture) -> None:
    """Writes a PNG atomically, of 8 or 16 bits, gray or RGB, with alpha where there is one."""
    rgb, alpha = picture.rgb, picture.alpha
    channels = [rgb[..., 0]] if picture.gray else [rgb[..., 0], rgb[..., 1], rgb[..., 2]]
    if picture.gray and not np.array_equal(rgb[..., 0], rgb[..., 1]):
        channels = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)]
    if alpha is not None:
        # PNG knows gray with alpha, but OpenCV does not write it.
        channels = (channels * 3 if rgb.dtype == np.uint16 and picture.gray else channels) + [alpha]
    with atomic_path(path) as temporary:
        if rgb.dtype == np.uint16:
            _write_deep(temporary, channels)
        else:
            array = channels[0] if len(channels) == 1 else np.stack(channels, -1)
            image = Image.fromarray(array)
            image.save(temporary, format="PNG", icc_profile=picture.icc_profile)


def _write_deep(path: Path, channels: list[np.ndarray]) -> None:
    ordered = [*channels[2::-1], *channels[3:]] if len(channels) > 2 else channels
    array = ordered[0] if len(ordered) == 1 else np.stack(ordered, -1)
    done, data = cv2.imencode(".png", array)
    if not done:
        raise OSError(f"{path} could not be encoded")
    path.write_bytes(data.tobytes())
