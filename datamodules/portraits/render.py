"""Puts one portrait together."""

from dataclasses import dataclass
from functools import cache, lru_cache, partial

import cv2
import numpy as np

from datamodules.portraits import hair, skin
from datamodules.portraits.beard import beard
from datamodules.portraits.canvas import Canvas
from datamodules.portraits.eyes import brows, eyes
from datamodules.portraits.geometry import Face, landmarks
from datamodules.portraits.glasses import glasses, temples
from datamodules.portraits.identity import ATTRIBUTES, sample_identity
from datamodules.portraits.mouth import mouth
from datamodules.portraits.nuisance import sample_nuisance
from datamodules.portraits.scene import background, body, ears
from datamodules.portraits.shading import light_colour


@dataclass(frozen=True)
class Portrait:
    """One picture with its labels.

    Attributes:
        image: (R, R, 3) uint8 RGB.
        landmarks: (K, 2) float32 pixel coordinates (x, y), ordered as LANDMARK_NAMES.
        identity: Index of the person.
        attributes: Class label of every name in ATTRIBUTES.
    """

    image: np.ndarray
    landmarks: np.ndarray
    identity: int
    attributes: dict[str, int]


def _canvas_size(resolution: int) -> int:
    """Returns the drawing size: a multiple of the resolution, at least 256 pixels."""
    if resolution >= 400:
        return resolution * (2 if resolution <= 512 else 1)
    return resolution * max(2, -(-256 // resolution))


def _stream(seed: int, identity: int, part: int) -> np.random.Generator:
    # Detail belongs to the person (same hairs and freckles in every picture), and every part has
    # its own stream, so that a change of one part leaves the others as they were.
    return np.random.default_rng(np.random.SeedSequence((seed, identity, 3, part)))


@lru_cache(maxsize=4)  # the next picture is most often one of the same person
def _pores(seed: int, identity: int) -> np.ndarray:
    return skin.grain(sample_identity(seed, identity), _stream(seed, identity, 1))


@cache
def _keep_memory() -> None:
    """Makes the C library keep freed memory for the next picture.

    glibc hands large blocks back to the system and takes them anew, page by page, which costs a
    tenth of the time of a picture, until it has seen a larger block freed.
    """
    np.empty(24 << 20, np.uint8)


def render_portrait(seed: int, identity: int, variation: int, resolution: int) -> Portrait:
    """Renders picture `variation` of person `identity` in the population `seed`.

    Args:
        seed: Population seed, at least 0.
        identity: Person index, at least 0.
        variation: Picture index of the person, at least 0.
        resolution: Side of the picture in pixels, 32 to 1024.

    Returns:
        The portrait; equal arguments give equal bytes whatever was rendered before.
    """
    _keep_memory()
    ident = sample_identity(seed, identity)
    shot = sample_nuisance(
        np.random.default_rng(np.random.SeedSequence((seed, identity, 2, variation)))
    )

    stream = partial(_stream, seed, identity)
    face = Face(ident, shot)
    canvas = Canvas(_canvas_size(resolution))
    tone = hair.hair_colour(face)
    background(canvas, face)
    hair.back_hair(canvas, face, stream(0))
    body(canvas, face)
    ears(canvas, face)
    skin.face_base(canvas, face, _pores(seed, identity))
    skin.marks(canvas, face, stream(2))
    skin.nose(canvas, face)
    eyes(canvas, face, stream(3))
    mouth(canvas, face, stream(4))
    beard(canvas, face, tone, stream(5))
    brows(canvas, face, tone * 0.9, stream(6))
    temples(canvas, face)
    hair.front_hair(canvas, face, stream(7))
    glasses(canvas, face)

    image = canvas.image
    if canvas.size != resolution:
        image = cv2.resize(image, (resolution, resolution), interpolation=cv2.INTER_AREA)
    tint = light_colour(face)
    tint = 1 + 0.3 * (tint - 1)
    image = np.clip(image * tint + 0.5, 0, 255).astype(np.uint8)
    labels = {name: int(getattr(ident, name, getattr(shot, name, 0))) for name in ATTRIBUTES}
    points = (landmarks(face) * resolution - 0.5).astype(np.float32)
    return Portrait(image, points, int(identity), labels)
