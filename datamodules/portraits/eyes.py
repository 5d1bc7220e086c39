"""Eyes with iris, lids and lashes, and brows made of strands."""

import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, ellipse
from datamodules.portraits.identity import EYE_RGB
from datamodules.portraits.shading import skin_colour


def _iris(canvas: Canvas, face: Face, centre: np.ndarray, rng: np.random.Generator) -> float:
    """Paints the iris with its fibres and the pupil, and returns the iris radius."""
    ident = face.ident
    colour = np.array(EYE_RGB[ident.eye_colour], np.float32)
    radius = 0.0262 * face.scale * (0.85 + 0.15 * ident.eye_size)
    pupil = radius * 0.43
    canvas.fill(ellipse(*centre, radius * 1.03, radius * 1.03), colour * 0.32, 0.95, 0.0015)
    canvas.fill(ellipse(*centre, radius * 0.9, radius * 0.9), colour * 0.85)
    angles = rng.uniform(0, 2 * np.pi, 46)
    near = pupil + radius * rng.uniform(0.0, 0.2, 46)
    far = radius * rng.uniform(0.6, 0.92, 46)
    way = np.stack((np.cos(angles), np.sin(angles)), 1)
    rays = centre + way[:, None] * np.stack((near, far), 1)[..., None]
    canvas.stroke(rays[:23], np.minimum(colour * 1.5 + 28, 255), 0.0016, 0.65)
    canvas.stroke(rays[23:], colour * 0.45, 0.0016, 0.6)
    # Light falls through the cornea and brightens the side away from the lamp.
    away = centre - np.array((face.shot.light_x, face.shot.light_y)) * radius * 0.45
    canvas.fill(
        ellipse(*away, radius * 0.4, radius * 0.3), np.minimum(colour * 1.5 + 25, 255), 0.35, 0.004
    )
    canvas.stroke(
        [ellipse(*centre, pupil * 1.25, pupil * 1.25)],
        colour * 1.1 + (30, 20, 5),
        0.003,
        0.45,
        0.001,
        True,
    )
    canvas.fill(ellipse(*centre, pupil, pupil), (9, 8, 10))
    return radius


def eyes(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paints both eyes: ball, lid shadow, catch light, lid lines, crease and lashes."""
    ident, shot = face.ident, face.shot
    skin = skin_colour(face)
    feminine = 1.0 - ident.masculine
    for side in (-1, 1):
        eye = face.eye(side)
        shape = np.concatenate((eye["upper"], eye["lower"][::-1]))
        toward = 0.5 + 0.5 * side * shot.light_x
        white = np.array((226, 222, 220), np.float32) * (0.68 + 0.3 * shot.ambient + 0.14 * toward)
        white *= 0.9 + 0.03 * (5 - ident.skin) / 5
        with canvas.inside(shape):
            _ball(canvas, face, eye, np.minimum(white, 250), rng)
        canvas.stroke([eye["lower"]], np.minimum(skin * (1.05, 0.85, 0.82), 255), 0.005, 0.5, 0.001)
        canvas.shade([eye["lower"] + np.float32((0, 0.012))], (0.78, 0.7, 0.68), 0.5, 0.004, 0.006)
        canvas.shade([eye["crease"]], (0.5, 0.4, 0.36), 0.75, 0.0016, 0.0045)
        liner = np.array((30, 20, 18), np.float32) + 0.12 * skin * ident.masculine
        canvas.stroke([eye["upper"]], liner, 0.0062 + 0.002 * feminine, 0.92, 0.0006)
        _lashes(canvas, eye, side, feminine, rng)


def _ball(
    canvas: Canvas, face: Face, eye: dict, white: np.ndarray, rng: np.random.Generator
) -> None:
    """Paints the eyeball, the lid's shadow on it and the catch lights."""
    light_x = face.shot.light_x
    canvas.fill(ellipse(*eye["centre"], 0.09, 0.06), white)
    canvas.fill(ellipse(*eye["upper"][0], 0.013, 0.009), (200, 128, 118), 0.75, 0.004)
    canvas.fill(ellipse(*eye["upper"][-1], 0.014, 0.012), white * 0.7, 0.6, 0.006)
    radius = _iris(canvas, face, eye["iris"], rng)
    canvas.shade([eye["upper"] + np.float32((0, 0.001))], (0.3, 0.27, 0.28), 0.9, 0.005, 0.014)
    aside = 0.42 * np.sign(light_x + 1e-6) * min(1.0, 0.4 + abs(light_x))
    glint = eye["iris"] + radius * np.array((aside, -0.36))
    canvas.fill(ellipse(*glint, 0.0062, 0.0058, 12), (255, 255, 255), 0.96, 0.0008)
    canvas.fill(ellipse(*(2 * eye["iris"] - glint), 0.0028, 0.0026, 8), (255, 255, 255), 0.4)


def _lashes(
    canvas: Canvas, eye: dict, side: int, feminine: float, rng: np.random.Generator
) -> None:
    """Paints curved upper and short lower lashes."""
    count = 34
    s = np.sort(rng.uniform(0.12, 1.0, count))
    index = s * (len(eye["upper"]) - 1)
    grid = np.arange(len(eye["upper"]))
    fan = np.stack((side * (s - 0.38) * 1.25, -np.ones(count) * (1.0 - 0.35 * s)), 1)
    for key, sign, reach in (("upper", 1.0, 0.014 + 0.009 * feminine), ("lower", -1.0, 0.0065)):
        root = np.stack([np.interp(index, grid, eye[key][:, k]) for k in (0, 1)], 1)
        way = fan * (1.0, sign)
        long = (reach * rng.uniform(0.7, 1.15, count) * (0.55 + 0.6 * s))[:, None]
        # Lashes leave the lid forwards (seen as a dip) and then curl away from the eye.
        middle = root + long * way * (0.55, 0.35)
        strands = np.stack((root, middle, root + long * way), 1)
        alpha = (0.45 + 0.4 * feminine) if sign > 0 else 0.25
        canvas.stroke(strands, (22, 15, 14), 0.0017, alpha)


def brows(canvas: Canvas, face: Face, hair: np.ndarray, rng: np.random.Generator) -> None:
    """Paints both brows: a soft shadow and strands that lean outwards."""
    for side in (-1, 1):
        line, thick = face.brow(side)
        edge = np.concatenate(
            (line - np.stack((0 * thick, thick), 1), (line + np.stack((0 * thick, thick), 1))[::-1])
        )
        canvas.fill(face.at(edge), hair * 0.8, 0.5, 0.0035)
        count = 130
        s = np.sort(rng.uniform(0.0, 1.0, count))
        across = rng.uniform(-0.95, 0.95, count)
        grid = np.linspace(0.0, 1.0, len(line))
        spot = np.stack([np.interp(s, grid, line[:, k]) for k in (0, 1)], 1)
        half = np.interp(s, grid, thick)
        root = spot + np.stack((0 * half, across * half), 1)
        lean = -1.25 * (1 - s) ** 1.5 - 0.35 * across + 0.25 * s
        way = np.stack((side * np.cos(lean * 0.9), np.sin(lean)), 1)
        long = (0.019 * rng.uniform(0.6, 1.1, count))[:, None]
        bend = np.stack((0 * s, 0.003 * np.ones(count)), 1)
        strands = face.at(np.stack((root, root + 0.55 * long * way, root + long * way + bend), 1))
        order = rng.permutation(count)
        canvas.stroke(strands[order[:85]], hair * 0.6, 0.0019, 0.7)
        canvas.stroke(strands[order[85:]], np.minimum(hair * 1.1 + 10, 255), 0.0018, 0.6)
