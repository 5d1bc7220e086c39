"""Small detail of the skin: pores, freckles, moles, wrinkles, and the nose."""

import cv2
import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, ellipse, smooth
from datamodules.portraits.grid import enlarge, grid_part
from datamodules.portraits.identity import Identity
from datamodules.portraits.shading import face_skin


def grain(ident: Identity, rng: np.random.Generator) -> np.ndarray:
    """Returns the pores of a person's skin: factors (256, 256) around 1."""
    coarse = rng.standard_normal((64, 64), np.float32)
    factors = rng.standard_normal((256, 256), np.float32)
    factors *= np.float32(0.016 + 0.01 * ident.wrinkles)
    factors += 1.0
    factors += cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_LINEAR) * np.float32(0.014)
    return factors


def face_base(canvas: Canvas, face: Face, pores: np.ndarray) -> None:
    """Paints the lit skin with its pores inside the face outline."""
    size = canvas.size
    cover, place = canvas.mask([face.outline()], 0.0012)
    part = grid_part(place, size)
    skin = enlarge(face_skin(face, part), part, place, size)
    fine = cv2.resize(pores, (size, size), interpolation=cv2.INTER_LINEAR)[place]
    canvas.blend(cover, place, cv2.multiply(skin, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB)))


def marks(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paints freckles, a mole and wrinkles."""
    ident, shot = face.ident, face.shot
    count = 90
    x, y = rng.standard_normal(count) * 0.085, 0.075 + rng.standard_normal(count) * 0.04
    radius = rng.uniform(0.0018, 0.0042, count)
    number = int(count * min(1.0, ident.freckles * 1.2))
    places = face.at(np.stack((x, y), 1), 0.01)
    spots = [ellipse(*places[k], radius[k], radius[k], 8) for k in range(number)]
    canvas.shade(spots, (0.72, 0.58, 0.48), 0.75, 0.0008)
    if ident.mole_y < 1.0:
        spot = face.at((ident.mole_x, ident.mole_y), 0.005)
        canvas.fill(ellipse(*spot, 0.0062, 0.0058, 12), (58, 34, 26), 0.85, 0.001)
    deep, smile = ident.wrinkles, max(shot.smile, 0.0)
    lines = []
    for level in (-0.13, -0.165, -0.2):
        s = np.linspace(-1, 1, 6)
        wave = level + 0.008 * s**2 + rng.uniform(-0.004, 0.004, 6)
        lines.append(face.at(smooth(np.stack((0.11 * s, wave), 1), 4)))
    strong = 0.8 * (deep - 0.25) + 0.2 * max(shot.brow_raise - 0.4, 0.0)
    if strong > 0.05:
        canvas.shade(lines, (0.62, 0.52, 0.48), min(0.42, strong), 0.003, 0.006)
    folds, feet = [], []
    for side in (-1, 1):
        half = face.lip_half
        folds.append(
            face.at(
                smooth(
                    (
                        (side * 0.05, face.nose_y + 0.004),
                        (side * (0.066 + 0.012 * smile), face.nose_y + 0.04),
                        (side * (half + 0.016), face.mouth_y - 0.008),
                    ),
                    5,
                )
            )
        )
        corner = side * (face.eye_x + 0.07)
        for rise in (-0.02, -0.002, 0.016):
            bend = rise + rng.uniform(-0.003, 0.003)
            feet.append(
                face.at(
                    smooth(
                        (
                            (corner, rise * 0.4),
                            (corner + side * 0.018, bend * 0.9),
                            (corner + side * 0.034, bend * 1.5),
                        ),
                        4,
                    )
                )
            )
        feet.append(
            face.at(
                smooth(
                    (
                        (side * (face.eye_x - 0.045), 0.03),
                        (side * face.eye_x, 0.043),
                        (side * (face.eye_x + 0.04), 0.034),
                    ),
                    4,
                )
            )
        )
    canvas.shade(folds, (0.62, 0.5, 0.46), min(0.85, 0.12 + 0.4 * smile + 0.4 * deep), 0.003, 0.006)
    if deep + 0.4 * smile > 0.25:
        canvas.shade(feet, (0.62, 0.52, 0.48), min(0.6, 0.6 * deep + 0.15 * smile), 0.0018, 0.004)


def nose(canvas: Canvas, face: Face) -> None:
    """Paints nostrils, wing lines and the highlight of the tip."""
    ident, shot = face.ident, face.shot
    wide, y = ident.nose_width, face.nose_y
    for side in (-1, 1):
        hole = face.at(
            smooth(
                (
                    (side * 0.01 * wide, y + 0.024),
                    (side * 0.018 * wide, y + 0.0175),
                    (side * 0.028 * wide, y + 0.019),
                    (side * 0.026 * wide, y + 0.026),
                    (side * 0.016 * wide, y + 0.0285),
                ),
                4,
                closed=True,
            ),
            0.04,
        )
        canvas.shade([hole], (0.2, 0.13, 0.12), 0.9, 0.0022)
        wing = face.at(
            smooth(
                (
                    (side * 0.036 * wide, y - 0.016),
                    (side * 0.0465 * wide, y - 0.002),
                    (side * 0.047 * wide, y + 0.014),
                    (side * 0.038 * wide, y + 0.026),
                    (side * 0.026 * wide, y + 0.024),
                ),
                5,
            ),
            0.025,
        )
        canvas.shade([wing], (0.52, 0.4, 0.37), 0.55, 0.003, 0.005)
    base = face.at(
        smooth(((-0.014 * wide, y + 0.026), (0, y + 0.033), (0.014 * wide, y + 0.026)), 4), 0.045
    )
    canvas.shade([base], (0.6, 0.5, 0.47), 0.6, 0.004, 0.007)
    tip = face.at((0.006 * np.sign(shot.light_x), y - 0.008), 0.085)
    canvas.fill(
        ellipse(*tip, 0.007, 0.006), (255, 250, 244), 0.3 * shot.light_strength + 0.08, 0.006
    )
    ridge = face.at(
        ((0.004 * np.sign(shot.light_x), 0.02), (0.005 * np.sign(shot.light_x), y - 0.04)), 0.045
    )
    canvas.stroke([ridge], (255, 248, 240), 0.006, 0.16 * shot.light_strength + 0.04, 0.005)
