"""Light on the head: a height map made of smooth bumps, its normals, and the lit skin."""

import cv2
import numpy as np

from datamodules.portraits.geometry import Face
from datamodules.portraits.identity import SKIN_RGB

GRID = 128  # side of the shading grids; fixed, so that every resolution gets the same light
_AXIS = ((np.arange(GRID, dtype=np.float32) + 0.5) / GRID).astype(np.float32)


def _blob(centre, sx: float, sy: float) -> np.ndarray:
    """Returns an axis-aligned Gaussian (G, G) around a frame point."""
    gx = np.exp(-0.5 * ((_AXIS - np.float32(centre[0])) / np.float32(sx)) ** 2)
    gy = np.exp(-0.5 * ((_AXIS - np.float32(centre[1])) / np.float32(sy)) ** 2)
    return gy[:, None] * gx[None, :]


def _ridge(start, end, s0: float, s1: float, h0: float, h1: float) -> np.ndarray:
    """Returns a rounded ridge (G, G) between two frame points with linear width and height."""
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    x, y = _AXIS[None, :] - np.float32(start[0]), _AXIS[:, None] - np.float32(start[1])
    t = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    d2 = (x - t * dx) ** 2 + (y - t * dy) ** 2
    sigma = s0 + (s1 - s0) * t
    return (h0 + (h1 - h0) * t) * np.exp(-0.5 * d2 / sigma**2)


def _pair(face: Face, x: float, y: float, sx: float, sy: float, lift: float = 0.0) -> np.ndarray:
    """Returns the same blob on both halves of the face."""
    left, right = face.at(((-x, y), (x, y)), lift)
    return _blob(left, sx, sy) + _blob(right, sx, sy)


def height_map(face: Face) -> np.ndarray:
    """Returns the relief of the face (G, G) in frame widths, seen from the front."""
    i, shot = face.ident, face.shot
    smile, relief = max(shot.smile, 0.0), i.nose_relief
    ring = face.outline()
    low, high = ring.min(0), ring.max(0)
    cx, cy = (low + high) / 2
    ax, ay = (high - low) / 2 * (1.05, 1.04)
    r2 = ((_AXIS[None, :] - cx) / ax) ** 2 + (np.abs(_AXIS[:, None] - cy) / ay) ** 2.6
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


def lit_normals(face: Face, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the diffuse light and the gloss, each (G, G), of a height map in frame widths."""
    nx = cv2.Sobel(h, cv2.CV_32F, 1, 0, ksize=3, scale=-GRID / 8)
    ny = cv2.Sobel(h, cv2.CV_32F, 0, 1, ksize=3, scale=-GRID / 8)
    inv = 1.0 / np.sqrt(nx * nx + ny * ny + 1.0)
    shot = face.shot
    cosine = (nx * shot.light_x + ny * shot.light_y + shot.light_z) * inv
    diffuse = np.maximum((cosine + 0.22) / 1.22, 0.0)
    half = np.array((shot.light_x, shot.light_y, shot.light_z + 1.0))
    half /= np.linalg.norm(half)
    gloss = np.maximum((nx * half[0] + ny * half[1] + half[2]) * inv, 0.0) ** 22
    return diffuse, gloss


def expose(face: Face, diffuse: np.ndarray) -> np.ndarray:
    """Turns diffuse light (G, G) into colour factors (G, G, 3): shadows are warm, as in skin."""
    shot = face.shot
    amount = shot.ambient + shot.light_strength * diffuse
    amount = amount / (1 + 0.25 * amount) * 1.16  # a soft shoulder keeps highlights off the limit
    tinted = np.stack((amount**0.85, amount, amount**1.08), -1)
    return tinted * light_colour(face)


def face_skin(face: Face) -> np.ndarray:
    """Returns the lit skin of the face (G, G, 3) in 0..255, without small detail."""
    i, shot = face.ident, face.shot
    h = height_map(face)
    diffuse, gloss = lit_normals(face, h)
    hollow = np.maximum(cv2.GaussianBlur(h, (0, 0), 4.0) - h, 0.0)
    diffuse *= 1.0 - np.minimum(hollow * 22.0, 0.5)
    side = 0.02 * np.sign(shot.light_x) * min(1.0, abs(shot.light_x) * 1.5)
    cast = _blob(face.at((-side * 1.3, face.nose_y + 0.035), 0.03), 0.034 * i.nose_width, 0.014)
    cast += 0.8 * _blob(face.at((0.0, face.mouth_y + 0.052 + 0.7 * face.gap)), 0.045, 0.011)
    diffuse *= 1.0 - 0.36 * cast
    lit = expose(face, diffuse)

    blush = 0.9 * _pair(face, 0.155, 0.115, 0.055, 0.045)
    blush += 0.6 * _blob(face.at((0.0, face.nose_y), 0.08), 0.035, 0.028)
    blush += 0.35 * _blob(face.at((0.0, face.chin_y - 0.06)), 0.05, 0.035)
    blush *= 0.35 + 0.3 * (i.warm + 0.8) + 0.3 * (1.0 - i.masculine)
    tired = _pair(face, face.eye_x - 0.01, 0.03, 0.045, 0.016)
    tired += 0.7 * _pair(face, face.eye_x - 0.02, -0.03, 0.05, 0.02)
    tone = np.float32(-1.0) * blush[..., None] * np.array((-0.015, 0.085, 0.075), np.float32)
    tone -= tired[..., None] * np.array((0.08, 0.1, 0.075), np.float32)
    if i.masculine > 0.5:  # the shaved area is a little cooler
        shaved = _blob(face.at((0.0, face.mouth_y + 0.07)), 0.13, 0.08)
        tone -= shaved[..., None] * np.array((0.07, 0.055, 0.035), np.float32)
    skin = skin_colour(face) * (1.0 + tone) * lit
    shine = gloss * (34.0 + 16.0 * shot.light_strength) * (0.75 + 0.25 * (i.skin > 2))
    skin += shine[..., None] * light_colour(face)
    return skin.astype(np.float32)


def round_light(face: Face, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Returns colour factors (G, G, 3) of an ellipsoid in frame coordinates (hair, neck)."""
    u = (_AXIS[None, :] - cx) / rx
    v = (_AXIS[:, None] - cy) / ry
    r = np.sqrt(u * u + v * v)
    fold = np.minimum(1.0, 0.98 / np.maximum(r, 1e-4))
    u, v = u * fold, v * fold
    w = np.sqrt(np.maximum(1.0 - u * u - v * v, 0.0))
    shot = face.shot
    cosine = u * shot.light_x + v * shot.light_y + w * shot.light_z
    return expose(face, np.maximum((cosine + 0.25) / 1.25, 0.0)).astype(np.float32)


def enlarge(grid: np.ndarray, size: int) -> np.ndarray:
    """Brings a shading grid to the size of the canvas."""
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR)
