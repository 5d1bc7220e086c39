"""A folder of all kinds of files for the data commands."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def draw():
    """Returns a function from a number to an encoded picture of random patches."""

    def make(number, suffix=".png", height=48, width=48):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return cv2.imencode(suffix, picture)[1].tobytes()

    return make


@pytest.fixture
def pictures(tmp_path, draw):
    """Returns a folder of 11 usable pictures, 5 broken ones and 2 other files."""
    root = tmp_path / "pictures"
    (root / "sub dir").mkdir(parents=True)
    for number in range(7):
        (root / f"{number:05d}.png").write_bytes(draw(number))
    (root / "a.b.c.jpg").write_bytes(draw(7, ".jpg"))
    (root / "Zoë 1_0002.webp").write_bytes(draw(8, ".webp"))
    (root / "sub dir" / "張.png").write_bytes(draw(9, height=60, width=90))
    (root / "00000.jpg").write_bytes(draw(10, ".jpg"))  # the stem of another one
    (root / "cut.png").write_bytes(draw(11)[:-40])
    (root / "cut.jpg").write_bytes(draw(11, ".jpg")[:-40])
    (root / "empty.png").write_bytes(b"")
    (root / "text.jpg").write_text("no picture")
    (root / "small.png").write_bytes(draw(12, height=20, width=60))
    (root / "notes.txt").write_text("notes")
    (root / "LICENSE").write_text("free")
    return root
