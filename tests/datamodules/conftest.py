"""Small pictures, folders and shards for the data tests."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def picture():
    """Returns a function from a number to a small RGB picture, uint8 (side, side, 3)."""

    def make(number, side=40):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)

    return make


@pytest.fixture(scope="session")
def encoded(picture):
    """Returns a function from a number and a suffix to an encoded picture."""

    def make(number, suffix=".png", side=40):
        bgr = np.ascontiguousarray(picture(number, side)[..., ::-1])
        return cv2.imencode(suffix, bgr)[1].tobytes()

    return make


@pytest.fixture
def folder(tmp_path, encoded):
    """Returns a folder of 30 PNG pictures of 10 people, ``person<letter>_<number>.png``."""
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(30):
        name = f"person{chr(ord('a') + number // 3)}_{number % 3:04d}.png"
        (root / name).write_bytes(encoded(number))
    return root
