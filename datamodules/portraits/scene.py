"""Background, clothing, neck and ears: everything behind the face."""

import cv2
import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, ellipse, smooth
from datamodules.portraits.grid import AXIS, GRID, enlarge, grid_part
from datamodules.portraits.raster import SHIFT, to_fixed
from datamodules.portraits.shading import expose, round_light, skin_colour


def _hsv(h: float, s: float, v: float) -> np.ndarray:
    """Returns an RGB colour (3,) in 0..255."""
    k = (np.array((5.0, 3.0, 1.0)) + h * 6.0) % 6.0
    return (255.0 * v * (1 - s * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)


def background(canvas: Canvas, face: Face) -> None:
    """Paints an out-of-focus background of the shot's kind over the whole picture."""
    shot = face.shot
    rng = np.random.default_rng(shot.scene_seed)
    hue, value = shot.background_hue, shot.background_value
    first = _hsv(hue, rng.uniform(0.05, 0.5), value)
    second = _hsv(
        (hue + rng.uniform(-0.15, 0.15)) % 1,
        rng.uniform(0.05, 0.6),
        np.clip(value + rng.uniform(-0.4, 0.4), 0.08, 1.0),
    )
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (AXIS[None] - 0.5) * np.cos(angle) + (AXIS[:, None] - 0.5) * np.sin(angle) + 0.5
    ramp = np.clip(ramp, 0, 1).astype(np.float32)
    sheet = cv2.merge([a + (b - a) * ramp for a, b in zip(first, second, strict=True)])
    sheet = np.clip(sheet, 0, 255).astype(np.uint8)
    kind = shot.background
    small = Canvas(GRID)  # it is out of focus, so a small picture is enough
    small.image[:] = sheet
    if kind == 1:
        for _ in range(26):
            radius, alpha = rng.uniform(0.025, 0.1), rng.uniform(0.15, 0.6)
            colour = _hsv(
                (hue + rng.uniform(-0.25, 0.25)) % 1, rng.uniform(0.1, 0.7), rng.uniform(0.5, 1.0)
            )
            shape = ellipse(rng.uniform(0, 1), rng.uniform(0, 1), radius, radius)
            small.fill(shape, colour, alpha)
        sheet = cv2.GaussianBlur(small.image, (0, 0), 1.0)
    elif kind == 2:
        turn, width = rng.uniform(-0.5, 0.5), rng.uniform(0.07, 0.2)
        phase = (AXIS[None] * np.cos(turn) + AXIS[:, None] * np.sin(turn)) / width
        wave = 1 / (1 + np.exp(-3 * np.sin(np.float32(2 * np.pi) * phase)))
        sheet = (sheet * cv2.merge([1 - 0.4 * wave] * 3)).astype(np.uint8)
    elif kind == 3:
        for _ in range(12):
            x, y = rng.uniform(-0.1, 1.0, 2)
            w, d = rng.uniform(0.1, 0.4, 2)
            colour = _hsv(
                (hue + rng.uniform(-0.2, 0.2)) % 1, rng.uniform(0, 0.6), rng.uniform(0.15, 0.95)
            )
            box = np.array(((x, y), (x + w, y), (x + w, y + d), (x, y + d)))
            cv2.fillPoly(sheet, [to_fixed(box, GRID)], colour.tolist(), cv2.LINE_AA, SHIFT)
        sheet = cv2.GaussianBlur(sheet, (0, 0), rng.uniform(2.0, 4.5))
    else:
        away = (AXIS[None] - rng.uniform(0.2, 0.8)) ** 2 + (AXIS[:, None] - 0.4) ** 2
        glow = cv2.merge([0.7 + 0.5 * np.exp(-4 * away)] * 3)
        sheet = np.clip(sheet * glow, 0, 255).astype(np.uint8)
    canvas.image[:] = cv2.resize(sheet, (canvas.size, canvas.size), interpolation=cv2.INTER_CUBIC)


def body(canvas: Canvas, face: Face) -> None:
    """Paints the neck and the clothed shoulders, with the shadow that the head casts."""
    i, shot, size = face.ident, face.shot, canvas.size
    chin = face.at((0.0, face.chin_y), z=0.0)
    x, wide = float(chin[0]), 0.135 + 0.03 * i.masculine
    neck = smooth(
        (
            (x - wide * 0.96, 0.62),
            (x - wide, 0.8),
            (x - wide * 1.02, 0.92),
            (x - wide * 1.9, 1.02),
            (x + wide * 1.9, 1.02),
            (x + wide * 1.02, 0.92),
            (x + wide, 0.8),
            (x + wide * 0.96, 0.62),
        ),
        5,
    )
    cover, place = canvas.mask([neck])
    part = grid_part(place, size)
    light = round_light(face, x, 0.95, wide * 1.15, 0.6, part)
    light *= skin_colour(face) * np.float32(0.9)
    canvas.blend(cover, place, enlarge(light, part, place, size))
    jaw = face.outline() + np.array((-0.03 * np.sign(shot.light_x) * abs(shot.light_x), 0.05))
    canvas.shade([np.clip(jaw, -0.2, 1.2)], (0.5, 0.44, 0.42), 0.85, 0.02)

    cloth = _hsv(shot.clothing_hue, shot.clothing_saturation, shot.clothing_value)
    top = 0.885 + 0.03 * shot.clothing_cut
    reach = 0.4 + 0.1 * i.masculine
    rim = wide * (0.98 + 0.25 * shot.clothing_cut)
    dip = 0.02 + 0.1 * shot.clothing_cut
    collar = smooth(
        (
            (x - rim, top),
            (x - 0.6 * rim, top + dip),
            (x, top + 1.5 * dip),
            (x + 0.6 * rim, top + dip),
            (x + rim, top),
        ),
        6,
    )
    shoulders = smooth(
        ((x + rim, top), (x + 0.3, 0.93), (x + reach, 0.97), (x + reach + 0.2, 1.1)), 5
    )
    mirror = shoulders[::-1] * (-1, 1) + (2 * x, 0)
    dress = np.concatenate((collar, shoulders, mirror)).astype(np.float32)
    cover, place = canvas.mask([dress])
    part = grid_part(place, size)
    light = round_light(face, x, 1.25, 0.62, 0.5, part)
    light *= cloth
    canvas.blend(cover, place, enlarge(light, part, place, size))
    canvas.stroke([collar], cloth * 0.55, 0.012, 0.8)
    canvas.stroke([collar + np.float32((0, 0.008))], np.minimum(cloth * 1.15 + 12, 255), 0.004, 0.5)
    rng = np.random.default_rng(shot.scene_seed + 1)
    folds = [
        smooth(((x + s * rng.uniform(0.12, 0.4), 0.96), (x + s * rng.uniform(0.1, 0.4), 1.03)), 4)
        for s in (-1, 1, -1, 1)
    ]
    canvas.shade(folds, (0.6, 0.6, 0.62), 0.6, 0.012, 0.01)


def ears(canvas: Canvas, face: Face) -> None:
    """Paints both ears behind the face outline."""
    i, shot = face.ident, face.shot
    flat = np.full((1, 1), 0.5, np.float32)
    for side in (-1, 1):
        toward = side * shot.light_x
        tone = expose(face, flat * (1.0 + 0.7 * toward))[0, 0]
        skin = skin_colour(face) * tone * (1.02, 0.92, 0.9)
        w, n = face.width, i.ear_size
        out = 0.026 + 0.01 * i.ear_out
        shape = np.array(
            (
                (w - 0.02, -0.035),
                (w + out * 0.7, -0.055 * n),
                (w + out * 1.15, -0.02),
                (w + out, 0.035),
                (w + out * 0.55, 0.085 * n),
                (w - 0.01, 0.1 * n),
                (w - 0.04, 0.04),
            )
        )
        ring = face.at(smooth(shape * (side, 1), 5, closed=True), z=-0.06)
        canvas.fill(ring, skin)
        inner = face.at(
            smooth(
                (
                    (side * (w + out * 0.2), 0.06),
                    (side * (w + out * 0.75), 0.025),
                    (side * (w + out * 0.85), -0.02),
                    (side * (w + out * 0.45), -0.04),
                    (side * w, -0.02),
                ),
                5,
            ),
            z=-0.06,
        )
        canvas.stroke([inner], skin * 0.55, 0.009, 0.8, 0.003)
        fold = face.at(
            smooth(
                (
                    (side * (w + out * 0.2), 0.03),
                    (side * (w + out * 0.45), 0.0),
                    (side * (w + 0.1 * out), -0.02),
                ),
                5,
            ),
            z=-0.06,
        )
        canvas.stroke([fold], skin * 0.5, 0.008, 0.7, 0.003)
