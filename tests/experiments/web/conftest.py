"""The page with the tiny model, served on a free port, and pictures to upload."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.portraits import render_portrait
from experiments.web.models import load_models
from experiments.web.work import Studio
from osdface.faces import Face
from osdface.networks.alignment import FFHQ_TEMPLATE

SIDE = 96  # of a face in a scene
CORNERS = ((20, 30), (170, 20))


def portrait(person: int, size: int = 64) -> np.ndarray:
    image = Image.fromarray(render_portrait(7, person, 0, 64).image)
    return np.asarray(image.resize((size, size)))


def scene() -> np.ndarray:
    """A wall (150, 300, 3) with two portraits."""
    image = np.full((150, 300, 3), 90, np.uint8)
    for person, (left, top) in enumerate(CORNERS):
        image[top : top + SIDE, left : left + SIDE] = portrait(person, SIDE)
    return image


class KnowsWhere:
    """Stands in for the detector: a picture of the scene's size has its faces, others have none."""

    def detect(self, image: np.ndarray) -> list[Face]:
        if image.shape[:2] != (150, 300):
            return []
        template = (np.array(FFHQ_TEMPLATE) + 0.5) * SIDE / 512 - 0.5
        return [
            Face(np.array([*corner, *np.add(corner, SIDE)]), 0.99, template + corner)
            for corner in CORNERS
        ]


@pytest.fixture(scope="session")
def studio() -> Studio:
    return Studio(load_models(["tiny"], device="cpu"), KnowsWhere(), 4_000_000)


@pytest.fixture(scope="session")
def address(studio, tmp_path_factory) -> Iterator[str]:
    """Serves the page; returns its address, which ends with a slash."""
    pytest.importorskip("gradio", reason="gradio (the extra demo) is not installed")
    from experiments.web.serving import Settings, served

    with served(studio, Settings(port=0)) as url:
        yield url


@pytest.fixture
def save(tmp_path: Path):
    """Returns a function that writes an array or bytes to a file and returns its path."""

    def write(name: str, content: np.ndarray | bytes) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)
        return path

    return write
