"""Glasses: rims, bridge, temples, tinted lenses, reflections and their shadow."""

import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, smooth
from datamodules.portraits.identity import FRAME_RGB


def _colour(face: Face) -> tuple[np.ndarray, float]:
    """Returns the frame's colour (3,) and the width of its rim; metal frames are thin."""
    kind = face.ident.frame_colour
    return np.array(FRAME_RGB[kind], np.float32), 0.0055 if kind in (2, 3) else 0.0105


def temples(canvas: Canvas, face: Face) -> None:
    """Paints the arms from the rims to the ears; hair painted later hides their ends."""
    if face.ident.glasses == 0:
        return
    colour, thin = _colour(face)
    reach = 0.083 if face.ident.glasses == 1 else 0.094
    arms = []
    for side in (-1, 1):
        start = face.at((side * (face.eye_x + reach), -0.02), 0.03)
        end = face.at((side * (face.width + 0.008), -0.025), z=-0.05)
        arms.append(np.stack((start, end)))
    canvas.stroke(arms, colour * 0.8, thin * 1.1)


def glasses(canvas: Canvas, face: Face) -> None:
    """Paints the person's glasses, if any."""
    ident, shot = face.ident, face.shot
    if ident.glasses == 0:
        return
    colour, thin = _colour(face)
    angle = np.linspace(0, 2 * np.pi, 41)[:-1]
    power = 1.0 if ident.glasses == 1 else 0.42
    rx, ry = (0.083, 0.079) if ident.glasses == 1 else (0.094, 0.064)
    cos, sin = np.cos(angle), np.sin(angle)
    ring = np.stack(
        (
            rx * np.sign(cos) * np.abs(cos) ** power,
            ry * np.sign(sin) * np.abs(sin) ** power + 0.006,
        ),
        1,
    )
    rims = [
        face.at(ring + np.float32((side * (face.eye_x + 0.002), 0.0)), 0.025) for side in (-1, 1)
    ]
    inside = face.eye_x - rx + 0.002
    bridge = face.at(smooth(((-inside, -0.012), (0, -0.024), (inside, -0.012)), 5), 0.045)
    drop = np.float32((-0.008 * shot.light_x, 0.013))
    canvas.shade(
        [rim + drop for rim in rims] + [bridge + drop], (0.55, 0.46, 0.43), 0.5, 0.005, thin
    )
    for rim in rims:
        cover, place = canvas.mask([rim])
        canvas.blend(cover * 0.05, place, (190, 214, 228))
        middle = rim.mean(0)
        lean = np.float32((0.028, -0.05))
        across = np.float32((0.012, 0.0))
        spot = middle + np.float32((0.026 * np.sign(shot.light_x), -0.012))
        streak = np.stack(
            (spot - lean - across, spot - lean + across, spot + lean + across, spot + lean - across)
        )
        gleam, where = canvas.mask([streak, streak + np.float32((0.032, 0))], 0.003)
        lens = np.zeros((canvas.size, canvas.size), np.float32)
        lens[place] = cover
        canvas.blend(
            gleam * lens[where] * (0.1 + 0.12 * shot.light_strength), where, (255, 255, 255)
        )
    canvas.stroke(rims, colour * 0.85, thin, closed=True)
    canvas.stroke([bridge], colour * 0.85, thin * 1.05)
    # A thin bright line on the side of the lamp makes the rim look round.
    glow = np.minimum(colour * 1.4 + 70, 255)
    canvas.stroke([rim[22:38] + np.float32((0, 0.0012)) for rim in rims], glow, thin * 0.3, 0.65)
