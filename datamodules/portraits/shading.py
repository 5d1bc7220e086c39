"""Light on the head: a height map made of smooth bumps, its normals, and the lit skin."""

import cv2
import numpy as np

from datamodules.portraits.geometry import Face
from datamodules.portraits.grid import AXIS, GRID, WHOLE, Part
from datamodules.portraits.identity import SKIN_RGB


def _blob(centre, sx: float, sy: float, part: Part = WHOLE) -> np.ndarray:
    """Returns an axis-aligned Gaussian (h, w) around a frame point."""
    gx = np.exp(-0.5 * ((AXIS[part[1]] - np.float32(centre[0])) / np.float32(sx)) ** 2)
    gy = np.exp(-0.5 * ((AXIS[part[0]] - np.float32(centre[1])) / np.float32(sy)) ** 2)
    return gy[:, None] * gx[None, :]


def _ridge(start, end, s0: float, s1: float, h0: float, h1: float) -> np.ndarray:
    """Returns a rounded ridge (G, G) between two frame points with linear width and height."""
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    x, y = AXIS[None, :] - np.float32(start[0]), AXIS[:, None] - np.float32(start[1])
    t = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    d2 = (x - t * dx) ** 2 + (y - t * dy) ** 2
    sigma = s0 + (s1 - s0) * t
    return (h0 + (h1 - h0) * t) * np.exp(-0.5 * d2 / sigma**2)


def _pair(
    face: Face, x: float, y: float, sx: float, sy: float, lift: float = 0.0, part: Part = WHOLE
) -> np.ndarray:
    """Returns the same blob on both halves of the face."""
    left, right = face.at(((-x, y), (x, y)), lift)
    return _blob(left, sx, sy, part) + _blob(right, sx, sy, part)


def height_map(face: Face) -> np.ndarray:
    """Returns the relief of the face (G, G) in frame widths, seen from the front."""
    i, shot = face.ident, face.shot
    smile, relief = max(shot.smile, 0.0), i.nose_relief
    ring = face.outline()
    low, high = ring.min(0), ring.max(0)
    cx, cy = (low + high) / 2
    ax, ay = (high - low) / 2 * (1.05, 1.04)
    r2 = ((AXIS[None, :] - cx) / ax) ** 2 + (np.abs(AXIS[:, None] - cy) / ay) ** 2.6
    h = 0.22 * np.sqrt(np.maximum(1.0 - r2, 0.012))
    tip = face.at((0.0, face.nose_y), 0.075)
    h += _ridge(face.at((0.0, -0.02), 0.015), tip, 0.019, 0.026, 0.018, 0.05 * relief)
    h += 0.024 * relief * _blob(tip, 0.027 * i.nose_width, 0.024)
    wing = 0.034 * i.nose_width
    h += 0.021 * _pair(face, wing, face.nose_y + 0.008, 0.016, 0.016, 0.03)
    h += (0.008 + 0.008 * i.masculine) * _pair(face, 0.095, -0.062 * i.brow_height, 0.06, 0.02)
    h -= 0.026 * _pair(face, face.eye_x - 0.02, -0.012, 0.04, 0.03)
    h += 0.017 * _pair(face, face.eye_x, 0.0, 0.04, 0.026)
    h += (0.016 + 0.014 * smile) * _pair(face, 0.15, 0.11 - 0.015 * smile, 0.055, 0.045)
    h += 0.022 * _blob(face.at((0.0, face.mouth_y - 0.005), 0.02), 0.06, 0.045)
    h -= 0.005 * _blob(face.at((0.0, (face.nose_y + face.mouth_y) / 2 + 0.01), 0.03), 0.008, 0.02)
    h += 0.006 * _blob(face.at((0.0, face.mouth_y + 0.018 + 0.7 * face.gap), 0.02), 0.045, 0.013)
    h -= 0.013 * _blob(face.at((0.0, face.mouth_y + 0.06 + 0.7 * face.gap)), 0.05, 0.014)
    h += 0.024 * _blob(face.at((0.0, face.chin_y - 0.065)), 0.05 * i.chin_width, 0.036)
    h += 0.008 * _pair(face, 0.075, -0.18, 0.06, 0.05)
    fold = (0.004 + 0.012 * smile) * (1 + 0.5 * i.wrinkles)
    for side in (-1, 1):
        start = face.at((side * 0.055, face.nose_y - 0.002))
        end = face.at((side * (face.lip_half + 0.028), face.mouth_y - 0.01))
        h -= _ridge(start, end, 0.008, 0.012, fold, fold * 0.25)
    return h.astype(np.float32)


def light_colour(face: Face) -> np.ndarray:
    """Returns the colour of the lamp as a factor per channel (3,)."""
    t = face.shot.temperature
    return np.array((1 + 0.07 * t, 1.0, 1 - 0.1 * t), np.float32)


def skin_colour(face: Face) -> np.ndarray:
    """Returns the albedo (3,) of the person's skin in 0..255."""
    base = np.array(SKIN_RGB[face.ident.skin], np.float32)
    return base * (1 + 0.03 * face.ident.warm * np.array((1.0, 0.2, -1.2), np.float32))


def lit_normals(face: Face, h: np.ndarray, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Returns diffuse light and gloss in a part (h, w) of a height map (G, G) in frame widths."""
    nx = cv2.Sobel(h, cv2.CV_32F, 1, 0, ksize=3, scale=-GRID / 8)[part]
    ny = cv2.Sobel(h, cv2.CV_32F, 0, 1, ksize=3, scale=-GRID / 8)[part]
    inv = 1.0 / np.sqrt(nx * nx + ny * ny + 1.0)
    shot = face.shot
    cosine = (nx * shot.light_x + ny * shot.light_y + shot.light_z) * inv
    diffuse = np.maximum((cosine + 0.22) / 1.22, 0.0)
    half = np.array((shot.light_x, shot.light_y, shot.light_z + 1.0))
    half /= np.linalg.norm(half)
    gloss = np.maximum((nx * half[0] + ny * half[1] + half[2]) * inv, 0.0) ** 22
    return diffuse, gloss


def _exposed(face: Face, diffuse: np.ndarray) -> list[np.ndarray]:
    """Turns diffuse light (h, w) into three colour factors (h, w), one a channel.

    Channels are kept apart here and in the skin: NumPy is many times faster on them than on
    (h, w, 3).
    """
    shot = face.shot
    amount = shot.ambient + shot.light_strength * diffuse
    amount = amount / (1 + 0.25 * amount) * 1.16  # a soft shoulder keeps highlights off the limit
    tinted = (amount**0.85, amount, amount**1.08)
    return [channel * factor for channel, factor in zip(tinted, light_colour(face), strict=True)]


def expose(face: Face, diffuse: np.ndarray) -> np.ndarray:
    """Turns diffuse light (h, w) into colour factors (h, w, 3): shadows are warm, as in skin."""
    return cv2.merge(_exposed(face, diffuse))


def face_skin(face: Face, part: Part = WHOLE) -> np.ndarray:
    """Returns a part of the lit skin of the face (h, w, 3) in 0..255, without small detail."""
    i, shot = face.ident, face.shot
    h = height_map(face)
    diffuse, gloss = lit_normals(face, h, part)
    hollow = np.maximum((cv2.GaussianBlur(h, (0, 0), 4.0) - h)[part], 0.0)
    diffuse *= 1.0 - np.minimum(hollow * 22.0, 0.5)
    side = 0.02 * np.sign(shot.light_x) * min(1.0, abs(shot.light_x) * 1.5)
    nose = face.at((-side * 1.3, face.nose_y + 0.035), 0.03)
    cast = _blob(nose, 0.034 * i.nose_width, 0.014, part)
    lip = face.at((0.0, face.mouth_y + 0.052 + 0.7 * face.gap))
    cast += 0.8 * _blob(lip, 0.045, 0.011, part)
    diffuse *= 1.0 - 0.36 * cast

    blush = 0.9 * _pair(face, 0.155, 0.115, 0.055, 0.045, part=part)
    blush += 0.6 * _blob(face.at((0.0, face.nose_y), 0.08), 0.035, 0.028, part)
    blush += 0.35 * _blob(face.at((0.0, face.chin_y - 0.06)), 0.05, 0.035, part)
    blush *= 0.35 + 0.3 * (i.warm + 0.8) + 0.3 * (1.0 - i.masculine)
    tired = _pair(face, face.eye_x - 0.01, 0.03, 0.045, 0.016, part=part)
    tired += 0.7 * _pair(face, face.eye_x - 0.02, -0.03, 0.05, 0.02, part=part)
    marks = [(blush, (0.015, -0.085, -0.075)), (tired, (-0.08, -0.1, -0.075))]
    if i.masculine > 0.5:  # the shaved area is a little cooler
        shaved = _blob(face.at((0.0, face.mouth_y + 0.07)), 0.13, 0.08, part)
        marks.append((shaved, (-0.07, -0.055, -0.035)))
    shine = gloss * (34.0 + 16.0 * shot.light_strength) * (0.75 + 0.25 * (i.skin > 2))
    albedo, lamp, lit = skin_colour(face), light_colour(face), _exposed(face, diffuse)
    for k, channel in enumerate(lit):
        channel *= albedo[k] * (1.0 + sum(mark * np.float32(amount[k]) for mark, amount in marks))
        channel += shine * lamp[k]
    return cv2.merge(lit)


def round_light(
    face: Face, cx: float, cy: float, rx: float, ry: float, part: Part = WHOLE
) -> np.ndarray:
    """Returns colour factors (h, w, 3) of an ellipsoid in frame coordinates (hair, neck)."""
    u = (AXIS[None, part[1]] - cx) / rx
    v = (AXIS[part[0], None] - cy) / ry
    r = np.sqrt(u * u + v * v)
    fold = np.minimum(1.0, 0.98 / np.maximum(r, 1e-4))
    u, v = u * fold, v * fold
    w = np.sqrt(np.maximum(1.0 - u * u - v * v, 0.0))
    shot = face.shot
    cosine = u * shot.light_x + v * shot.light_y + w * shot.light_z
    return expose(face, np.maximum((cosine + 0.25) / 1.25, 0.0))
