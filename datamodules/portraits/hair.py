"""Painting of scalp hair: strands in locks of one tone, lit as a ball around the head."""

from itertools import chain

import cv2
import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, smooth
from datamodules.portraits.grid import AXIS, enlarge, grid_part
from datamodules.portraits.hair_shape import (
    BALD,
    CURLY,
    FRINGE,
    LONG,
    SHORT,
    Patch,
    curls,
    flow,
    rings,
)
from datamodules.portraits.identity import HAIR_RGB
from datamodules.portraits.raster import SHIFT, draw_lines, to_fixed
from datamodules.portraits.shading import round_light

# Factors on the hair colour; every strand has one of them.
_TONES = np.array((0.6, 0.78, 0.9, 1.0, 1.14, 1.32), np.float32)


def hair_colour(face: Face) -> np.ndarray:
    """Returns the base colour (3,) of the person's hair in 0..255."""
    return np.minimum(
        np.array(HAIR_RGB[face.ident.hair_colour], np.float32) * face.ident.hair_tone, 255
    )


def _paint(
    canvas: Canvas,
    face: Face,
    solids: list,
    strands: np.ndarray,
    lock: np.ndarray,
    width: float,
    rng: np.random.Generator,
    darken: float,
    shine: float,
) -> None:
    """Blends hair made of solid shapes and strands (N, P, 2), lit as a ball around the head."""
    size = canvas.size
    base = hair_colour(face)
    sheet = canvas.layer(base * 0.72)
    shapes = [to_fixed(shape, size) for shape in solids]
    for shape in shapes:
        cv2.fillPoly(sheet, [shape], (*(base * 0.72).tolist(), 255), cv2.LINE_AA, SHIFT)
    # Neighbouring strands share a tone (a lock), so the hair shows waves of light and dark.
    noise = np.interp(lock, np.linspace(0, 1, 24), rng.standard_normal(24))
    level = np.argsort(np.argsort(noise + 1.1 * rng.standard_normal(len(lock))))
    tone = (level * len(_TONES)) // max(1, len(lock))
    fixed = to_fixed(strands, size)
    contrast = min(1.0, width * size / max(1, round(width * size)))
    rounds = [], [], []  # three rounds, so that no tone lies on top of all others
    for k in (0, 2, 1, 4, 3, 5):
        colour = base * (1 + (_TONES[k] - 1) * (0.6 + 0.4 * contrast)) + 7 * (k - 2.5)
        colour = (*np.clip(colour, 3, 255).tolist(), 255)
        chosen = np.flatnonzero(tone == k)
        turn = chosen % 3
        for drawn, first in zip(rounds, dict.fromkeys(turn.tolist()), strict=False):
            drawn.append((list(fixed[chosen[turn == first]]), colour))
    for lines, colour in chain(*rounds):
        draw_lines(sheet, lines, colour, width * size)
    alpha = cv2.extractChannel(sheet, 3)
    left, top, wide, high = cv2.boundingRect(alpha)
    if wide == 0:
        return
    place = (slice(top, top + high), slice(left, left + wide))
    part = grid_part(place, size)
    head = face.at((0.0, -0.06), z=-0.05)
    light = round_light(face, head[0], head[1], 0.36, 0.44, part) * darken
    dx, dy = AXIS[None, part[1]] - head[0], AXIS[part[0], None] - head[1]
    ring = np.sqrt(dx**2 / 0.3**2 + dy**2 / 0.36**2)
    side = 1 + 0.5 * face.shot.light_x * dx / 0.3
    band = np.exp(-0.5 * ((ring - 0.84) / 0.07) ** 2) * (dy < 0.1) * side * shine
    light *= 0.92
    light += cv2.cvtColor(band * face.shot.light_strength * 0.5, cv2.COLOR_GRAY2RGB)
    light = light / (1 + 0.22 * light)  # keeps light hair off the limit
    paint = cv2.cvtColor(sheet[place], cv2.COLOR_RGBA2RGB)
    paint = cv2.multiply(paint, enlarge(light, part, place, size), dtype=cv2.CV_32F)
    canvas.blend(alpha[place] * np.float32(1 / 255), place, paint)


def back_hair(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paints the hair that falls behind neck and shoulders (long) or stands behind the ears."""
    i = face.ident
    curly = i.hair_style == CURLY and i.masculine < 0.5
    if i.hair_style not in (LONG, FRINGE) and not curly:
        return
    vol = 0.034 * i.hair_volume
    w = face.width + vol + (0.022 if curly else 0.0)
    end = {LONG: 0.66, CURLY: 0.21, FRINGE: 0.36}[i.hair_style]
    left = smooth(
        (
            (-w * 0.8, -0.25),
            (-w, -0.05),
            (-w * 1.06, 0.15),
            (-w * 1.04, end * 0.7),
            (-w * 0.95, end),
        ),
        6,
    )
    count = 420 if curly else 230
    k = rng.beta(0.3, 0.3, count) if curly else rng.uniform(0.0, 1.0, count)
    mirror = left * (-1, 1)
    lines = left[None] * (1 - k[:, None, None]) + mirror[None] * k[:, None, None]
    u = np.linspace(0.0, 1.0, len(left))
    wave = (0.004 + 0.012 * i.hair_wave) * np.sin(2 * np.pi * (2.5 * u[None] + 2 * k[:, None]))
    lines[..., 0] += wave * u
    lines[..., 1] += 0.03 * rng.standard_normal((count, 1)) * u**3
    order = np.argsort(np.abs(k - 0.5))[::-1]
    solid = np.concatenate((left, mirror[::-1]))
    solids, strands = [face.at(solid, z=-0.1)], face.at(lines[order], z=-0.1)
    if curly:
        middle = strands[np.arange(count), rng.integers(6, len(left), count)]
        solids, strands = [], rings(middle, rng)
    _paint(canvas, face, solids, strands, k[order], 0.0032, rng, 0.72, 0.0)


def front_hair(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paints the hair on the head and the shadow that it casts on the forehead."""
    i = face.ident
    if i.hair_style == BALD:
        return
    patch = Patch(face)
    shift = np.float32((-0.008 * face.shot.light_x, 0.012))
    canvas.shade([patch.border(0.0) + shift], (0.62, 0.53, 0.5), 0.7, 0.011)
    if i.hair_style == CURLY:
        strands = curls(patch, 620, rng)
        lock = rng.uniform(0, 1, len(strands))
        _paint(canvas, face, [patch.border(0.08)], strands, lock, 0.0036, rng, 1.0, 0.35)
        return
    strands = flow(face, patch, 1000 if i.hair_style == SHORT else 760, rng)
    lock = (strands[:, 4, 0] * 1.3 + strands[:, 4, 1] * 0.7) % 1.0
    width = 0.0024 if i.hair_style == SHORT else 0.0029
    _paint(canvas, face, [patch.border(0.07)], strands, lock, width, rng, 1.0, 1.0)
    if i.hair_style in (LONG, FRINGE):
        _curtains(canvas, face, rng)


def _curtains(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paints the locks that hang in front of the ears along the cheeks."""
    i, w = face.ident, face.width
    end = 0.62 if i.hair_style == LONG else 0.33
    reach = 0.034 * i.hair_volume
    solids, strands, lock = [], [], []
    for side in (-1, 1):
        inner = smooth(
            (
                (w * 0.9, -0.13),
                (w * 0.985, 0.0),
                (w * 0.99, 0.14),
                (w * 0.9, end * 0.7),
                (w * 0.82, end),
            ),
            6,
        )
        outer = smooth(
            (
                (w * 0.97, -0.15),
                (w + reach, -0.03),
                (w * 1.06 + reach, 0.14),
                (w * 1.05 + reach, end * 0.7),
                (w * 0.95 + reach, end),
            ),
            6,
        )
        inner, outer = inner * (side, 1), outer * (side, 1)
        solids.append(face.at(np.concatenate((inner[7:], outer[:6:-1])), z=0.0))
        k = rng.uniform(-0.06, 1.04, (130, 1, 1))
        lines = inner * (1 - k) + outer * k
        u = np.linspace(0.0, 1.0, len(inner))
        # Strands begin at different heights, so that the lock grows out of the hair above it.
        late = rng.uniform(0.0, 0.3, (130, 1))
        row = (late + (1 - late) * u) * (len(inner) - 1.001)
        low = row.astype(int)
        part, each = (row - low)[..., None], np.arange(130)[:, None]
        lines = lines[each, low] * (1 - part) + lines[each, low + 1] * part
        lines[..., 0] += (
            (0.003 + 0.013 * i.hair_wave) * u * np.sin(2 * np.pi * (2.2 * u + k[..., 0]))
        )
        lines[..., 1] += 0.02 * rng.standard_normal((130, 1)) * u**3
        strands.append(face.at(lines, z=0.0))
        lock.append(k[:, 0, 0] * 0.5 + 0.25 * (side + 1))
    canvas.shade([solid + np.float32((0, 0.006)) for solid in solids], (0.6, 0.5, 0.47), 0.6, 0.012)
    _paint(
        canvas, face, solids, np.concatenate(strands), np.concatenate(lock), 0.003, rng, 1.0, 0.6
    )
