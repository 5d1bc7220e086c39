"""Beards: stubble, moustache and full beard, made of short strands on a soft tint."""

import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, smooth
from datamodules.portraits.shading import expose

STUBBLE, MOUSTACHE, FULL = 1, 2, 3


def _between(inner: np.ndarray, outer: np.ndarray, t: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Returns points (N, 2) between two curves at shares t along and s across."""
    ends = []
    for curve in (inner, outer):
        grid = np.linspace(0.0, 1.0, len(curve))
        ends.append(np.stack([np.interp(t, grid, curve[:, k]) for k in (0, 1)], 1))
    return ends[0] * (1 - s[:, None]) + ends[1] * s[:, None]


def _areas(face: Face) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (inner, outer) curve pairs in face coordinates: the jaw and the moustache."""
    ring = face.outline_points()[4:15, :2][::-1]
    outer = smooth(ring * (0.985, 1.0) - (0.0, 0.004), 5)
    w, half, y = face.width, face.lip_half, face.mouth_y
    low = y + 0.045 + 0.7 * face.gap
    right = [
        (0, low + 0.006),
        (0.04, low),
        (half + 0.012, y + 0.02),
        (half + 0.024, y - 0.028),
        (0.165, 0.195),
        (w * 0.88, 0.12),
        (w * 0.95, 0.02),
    ]
    points = np.array(right, np.float32)
    inner = smooth(np.concatenate((points[::-1] * (-1, 1), points[1:])), 5)
    top = face.lips["top"]
    nose = face.nose_y + 0.038
    moustache_low = top[1:-1] - (0.0, 0.0015)
    s = np.linspace(-1, 1, 13)
    moustache_top = np.stack((s * (half + 0.01), nose + 0.012 + (top[8, 1] - nose) * 0.9 * s**2), 1)
    ends = np.array(((half + 0.014) * 1.0, y + 0.012))
    moustache_low = np.concatenate(([ends * (-1, 1)], moustache_low, [ends]))
    return [(inner, outer), (moustache_top, smooth(moustache_low, 3))]


def beard(canvas: Canvas, face: Face, hair: np.ndarray, rng: np.random.Generator) -> None:
    """Paints the person's beard in a darkened hair colour."""
    kind = face.ident.beard
    if kind == 0:
        return
    tone = expose(face, np.full((1, 1), 0.5, np.float32))[0, 0]
    colour = np.clip(hair * 0.85 * tone, 0, 255)
    jaw, lip = _areas(face)
    areas = {STUBBLE: (jaw, lip), MOUSTACHE: (lip,), FULL: (jaw, lip)}[kind]
    for area, (inner, outer) in enumerate(areas):
        is_jaw = kind != MOUSTACHE and area == 0
        solid = face.at(np.concatenate((inner, outer[::-1])))
        tint = 0.26 if kind == STUBBLE else 0.8
        canvas.fill(solid, colour * 0.8, tint, 0.007 if is_jaw else 0.004)
        count = (900 if is_jaw else 220) if kind == STUBBLE else (1000 if is_jaw else 240)
        long = 0.0055 if kind == STUBBLE else (0.03 if is_jaw else 0.02)
        t, s = rng.uniform(0.0, 1.0, count), rng.uniform(-0.03, 1.0, count)
        root = _between(inner, outer, t, s)
        tip = _between(inner, outer, t, s + 0.3)
        way = tip - root
        way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-5)
        way[:, 0] += (
            1.1
            * np.sign(root[:, 0])
            * (0.3 if is_jaw else np.minimum(np.abs(root[:, 0]) / 0.04, 1.0))
        )
        way[:, 1] += 0.6
        way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-5)
        reach = (long * rng.uniform(0.6, 1.2, count))[:, None]
        bend = rng.standard_normal((count, 2)) * 0.12 * reach
        strands = np.stack((root, root + 0.5 * reach * way + bend, root + reach * way), 1)
        strands = face.at(strands, 0.004)
        width = 0.0015 if kind == STUBBLE else 0.0019
        thirds = np.array_split(np.arange(count), 3)
        paints = (colour * 0.55, colour * 0.95, np.minimum(colour * 1.35 + 14, 255))
        for part, paint in zip(thirds, paints, strict=True):
            canvas.stroke(strands[part], paint, width, 0.55 if kind == STUBBLE else 0.7)
