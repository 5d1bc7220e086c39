"""Portraits as photographs, and a detector that knows where their faces are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.portraits import render_portrait
from experiments.restoring import work
from osdface import Restorer
from osdface.faces import Face
from osdface.networks.alignment import FFHQ_TEMPLATE

SIDE = 96  # of a face's crop in the scenes


@pytest.fixture(scope="session")
def tiny() -> Restorer:
    return Restorer.from_pretrained("tiny", device="cpu")


def portrait(person: int, size: int = 64) -> np.ndarray:
    image = Image.fromarray(render_portrait(7, person, 0, 64).image)
    return np.asarray(image.resize((size, size)))


def scene(corners: tuple[tuple[int, int], ...], width: int = 300, height: int = 150) -> np.ndarray:
    """A striped wall with a portrait of SIDE pixels at each (left, top)."""
    wall = np.indices((height, width)).sum(0) % 7 * 30
    image = np.repeat(wall[..., None], 3, 2).astype(np.uint8)
    for person, (left, top) in enumerate(corners):
        image[top : top + SIDE, left : left + SIDE] = portrait(person, SIDE)
    return image


class KnowsWhere:
    """Stands in for the detector: a picture of the scene's size has its faces."""

    def __init__(self, *_args: object) -> None: ...

    corners = ((20, 30), (170, 20))

    def detect(self, image: np.ndarray) -> list[Face]:
        if image.shape[:2] != (150, 300):
            return []
        found = []
        for corner in self.corners:
            points = (np.array(FFHQ_TEMPLATE) + 0.5) * SIDE / 512 - 0.5 + corner
            found.append(Face(np.array([*corner, *np.add(corner, SIDE)]), 0.99, points))
        return found


@pytest.fixture
def loaded(tiny, monkeypatch, tmp_path) -> Path:
    """The shipped restorer, loaded once for all tests, and the detector that knows."""
    monkeypatch.setattr(work.Restorer, "from_pretrained", lambda *_, **__: tiny)
    monkeypatch.setattr(work, "find_detector", lambda _: Path("weights"))
    monkeypatch.setattr(work, "FaceDetector", KnowsWhere)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder ``in`` with one photograph of two faces."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(scene(KnowsWhere.corners)).save(folder / "two.png")
    return folder
