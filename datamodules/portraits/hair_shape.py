"""The shape of scalp hair: the patch that it covers, and the course of its strands."""

import numpy as np

from datamodules.portraits.geometry import Face, mirrored, smooth

BALD, SHORT, PARTED, FRINGE, LONG, CURLY = range(6)  # as in ATTRIBUTES["hair_style"]


def hairline(face: Face) -> np.ndarray:
    """Returns the inner border (M, 2) from the left ear over the forehead, in face coordinates."""
    i, style = face.ident, face.ident.hair_style
    w, drop = face.width, face.ident.hairline
    top = -0.262 + drop
    half = [
        (0, top + i.widow_peak),
        (0.09, top - 0.004),
        (0.17, top + 0.05),
        (w * 0.9, -0.115),
        (w * 0.985, -0.03),
        (w * 0.99, 0.045),
    ]
    if style == FRINGE:
        low = -0.108 + drop
        half = [
            (0, low),
            (0.09, low + 0.004),
            (0.17, low + 0.022),
            (w * 0.9, -0.06),
            (w * 0.98, 0.0),
            (w * 0.99, 0.06),
        ]
    elif style == PARTED:
        half[1], half[2] = (0.1, top + 0.004), (0.185, top + 0.075)
    curve = np.array(mirrored(half), np.float32)
    if style in (PARTED, LONG):
        # The hair leaves the parting as two arcs, deeper on the full side.
        part = 0.1 * i.hair_part
        away = np.abs(curve[:, 0] - part)
        curve[:, 1] += np.where(curve[:, 1] < -0.1, 0.05 * np.minimum(away / 0.2, 1.0) - 0.025, 0.0)
    return smooth(curve, 8)


def contour(face: Face) -> np.ndarray:
    """Returns the outer border (M, 2) of the hair from left to right, in face coordinates."""
    i = face.ident
    style = i.hair_style
    side = {SHORT: 0.006, PARTED: 0.022, FRINGE: 0.026, LONG: 0.034, CURLY: 0.06}[style]
    crown = {SHORT: 0.035, PARTED: 0.05, FRINGE: 0.04, LONG: 0.042, CURLY: 0.075}[style]
    rx = face.width * 1.005 + side * i.hair_volume
    ry = 0.375 + crown * i.hair_volume
    angle = np.linspace(-0.16, np.pi + 0.16, 49)
    bulge = np.maximum(np.sin(angle), 0.0) ** 0.9 * np.sign(np.sin(angle)) + np.minimum(
        np.sin(angle), 0
    )
    curve = np.stack((-rx * np.cos(angle), -0.03 - ry * bulge), 1).astype(np.float32)
    if style != CURLY:  # sideburns run out in a point before the ear
        for k, end in ((slice(0, 5), -1), (slice(-1, -6, -1), 1)):
            share = np.linspace(1.0, 0.0, 5)[:, None]
            curve[k] = curve[k] * (1 - share) + np.float32((end * face.width * 0.985, 0.05)) * share
    return curve


class Patch:
    """The hair surface: t runs 0..1 from left to right, s from the hairline (0) outwards (1)."""

    def __init__(self, face: Face) -> None:
        self.inner = face.at(hairline(face), 0.012)
        self.outer = face.at(contour(face), z=-0.02)

    def at(self, t: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Returns frame points (..., 2) at patch coordinates (...)."""
        shape = t.shape
        flat = np.clip(t, 0.0, 1.0).ravel()
        ends = []
        for curve in (self.inner, self.outer):
            grid = np.linspace(0.0, 1.0, len(curve))
            ends.append(np.stack([np.interp(flat, grid, curve[:, k]) for k in (0, 1)], 1))
        share = s.ravel()[:, None]
        return (ends[0] * (1 - share) + ends[1] * share).reshape(*shape, 2)

    def border(self, inset: float) -> np.ndarray:
        """Returns the closed border of the patch, moved in from the hairline by a share."""
        t = np.linspace(0.0, 1.0, 60)
        return np.concatenate(
            (self.at(t, np.full(60, inset)), self.at(t, np.full(60, 0.985))[::-1])
        )


def flow(face: Face, patch: Patch, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the strands (count, P, 2) of the person's hair style in the frame."""
    i = face.ident
    style = i.hair_style
    u = np.linspace(0.0, 1.0, 9)
    lane = rng.uniform(0.0, 1.0, (count, 1))
    start = rng.uniform(0.0, 1.0, (count, 1))
    if style == SHORT:
        sweep = 0.1 * i.hair_part
        begin, long = start * 0.95 - 0.06, rng.uniform(0.12, 0.35, (count, 1))
        s = begin + long * u
        t = (
            lane
            + sweep * (u - 0.5) * np.sin(np.pi * lane)
            + 0.01 * rng.standard_normal((count, 1)) * u
        )
        s = np.minimum(s, 1.05 + 0.05 * rng.standard_normal((count, 1)))
    elif style == FRINGE:
        begin = rng.choice((1.0, 0.75, 0.5), (count, 1)) + rng.uniform(-0.1, 0.0, (count, 1))
        s = begin + (-0.05 + 0.07 * rng.standard_normal((count, 1)) * 0.5 - begin) * u
        t = 0.5 + (lane - 0.5) * (0.8 + 0.2 * u) + 0.02 * i.hair_part * u**2
    else:
        part = 0.5 + 0.13 * i.hair_part
        goal = np.where(lane < part, 0.0, 1.0)
        head = part + (goal - part) * (start**1.4 * 0.7)
        t = head + (goal - head) * u * rng.uniform(0.6, 1.0, (count, 1))
        depth = rng.uniform(-0.02, 1.0, (count, 1))
        s = (
            depth
            + 0.12 * np.sin(np.pi * u) * (0.5 - depth)
            + 0.02 * rng.standard_normal((count, 1)) * u
        )
    wave = 0.006 * i.hair_wave * (style != SHORT)
    points = patch.at(t, s)
    phase = 2 * np.pi * (2.2 * u + lane * 1.5)
    return points + wave * np.stack((np.cos(phase), np.sin(phase)), -1) * u[None, :, None]


def curls(patch: Patch, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns curls (count, P, 2): spirals scattered over the patch."""
    t, s = rng.uniform(0.01, 0.99, count), rng.uniform(0.0, 1.02, count)
    return rings(patch.at(t, s), rng)


def rings(centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns one spiral (N, P, 2) around every frame point (N, 2)."""
    count = len(centre)
    turn = np.linspace(0.0, 1.6 * np.pi, 10) * rng.choice((-1, 1), (count, 1))
    turn = turn + rng.uniform(0, 2 * np.pi, (count, 1))
    radius = rng.uniform(0.013, 0.032, (count, 1)) * np.linspace(1.0, 0.55, 10)
    ring = np.stack((np.cos(turn), 0.9 * np.sin(turn)), -1) * radius[..., None]
    return centre[:, None] + ring
