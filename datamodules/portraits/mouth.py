"""The mouth: lips, lip line, teeth and tongue."""

import numpy as np

from datamodules.portraits.canvas import Canvas
from datamodules.portraits.geometry import Face, ellipse, smooth
from datamodules.portraits.shading import expose, skin_colour


def mouth(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paints the mouth of the shot's expression."""
    ident, shot = face.ident, face.shot
    lips = {name: face.at(curve, 0.02) for name, curve in face.lips.items()}
    tone = expose(face, np.full((1, 1), 0.62, np.float32))[0, 0]
    skin = skin_colour(face)
    rose = np.array((186, 84, 86), np.float32) * (0.55 + 0.45 * skin.mean() / 190)
    mix = 0.3 + 0.28 * ident.lip_red
    colour = ((1 - mix) * skin * (0.93, 0.74, 0.72) + mix * rose) * tone
    soft = 0.0022
    if face.gap > 0.004:
        with canvas.inside(np.concatenate((lips["upper"], lips["lower"][::-1]))):
            _teeth(canvas, face, lips)
    upper = np.concatenate((lips["top"], lips["upper"][::-1]))
    lower = np.concatenate((lips["lower"], lips["bottom"][::-1]))
    canvas.fill(upper, np.clip(colour * 0.86, 0, 255), 0.95, soft)
    canvas.fill(lower, np.clip(colour * 1.04, 0, 255), 0.95, soft)
    # Roundness: the upper lip darkens towards the line, the lower lip has a bright belly.
    canvas.shade([lips["upper"] - np.float32((0, 0.003))], (0.74, 0.66, 0.66), 0.6, 0.005, 0.009)
    belly = 0.5 * (lips["lower"] + lips["bottom"])[4:13]
    shift = np.float32((0.012 * shot.light_x, -0.002))
    canvas.stroke([belly + shift], np.minimum(colour * 1.25 + 40, 255), 0.006, 0.55, 0.005)
    canvas.shade([lips["bottom"][3:14]], (0.7, 0.6, 0.58), 0.5, 0.005, 0.006)
    canvas.stroke(
        [lips["top"][3:14] - np.float32((0, 0.003))],
        np.minimum(skin * tone * 1.12, 255),
        0.003,
        0.3,
        0.002,
    )
    # Fine vertical creases.
    s = rng.uniform(0.12, 0.88, 26)
    pick = np.clip((s * 16).astype(int), 1, 15)
    jitter = rng.uniform(-0.004, 0.004, (26, 1)) * (1, 0)
    start = lips["lower"][pick] + jitter
    end = start + (lips["bottom"][pick] - lips["lower"][pick]) * rng.uniform(0.4, 0.9, (26, 1))
    canvas.shade(list(np.stack((start, end), 1)), (0.72, 0.62, 0.62), 0.5, 0.0, 0.0016)
    line = [lips["upper"], lips["lower"]] if face.gap > 0.004 else [lips["upper"]]
    canvas.stroke(line, colour * 0.32, 0.0042, 0.85, 0.0008)
    corners = [ellipse(*lips["upper"][k], 0.006, 0.005, 10) for k in (0, -1)]
    canvas.shade(corners, (0.5, 0.42, 0.4), 0.7, 0.004)


def _teeth(canvas: Canvas, face: Face, lips: dict[str, np.ndarray]) -> None:
    """Paints the dark cavity, the tongue and the teeth between the lips."""
    middle = 0.5 * (lips["upper"] + lips["lower"])
    canvas.fill(ellipse(*middle[8], 0.2, 0.15), (52, 18, 18))
    wide = face.shot.expression == 3
    if wide:
        low = lips["lower"][8]
        canvas.fill(ellipse(low[0], low[1] - 0.002, 0.05, 0.02), (168, 78, 76), 0.9, 0.006)
    height = min(0.022, 0.42 * face.gap) if wide else 0.032
    x = np.linspace(-0.95, 0.95, 17)
    base = lips["upper"][8]
    half = face.lip_half * 0.93
    count = 10
    level = 0.5 + 0.35 * face.shot.ambient + 0.22 * face.shot.light_strength
    ivory = np.minimum(np.array((238, 232, 220), np.float32) * min(1.0, level), 250)
    gum = lips["upper"] - np.float32((0, 0.006))
    top = np.stack((gum[:, 0], np.minimum(gum[:, 1], base[1])), 1)
    edge = np.stack((top[:, 0], top[:, 1] + 0.004 + height * (1 - 0.5 * x**2)), 1)
    canvas.fill(np.concatenate((top, edge[::-1])), ivory)
    width = half * np.sin(np.linspace(-1.35, 1.35, count + 1))  # teeth narrow towards the sides
    notches, lines = [], []
    for k in range(count):
        u = np.array((width[k], width[k + 1])) / half
        gap_x = np.interp(u, x, edge[:, 0])
        gap_y = np.interp(u, x, edge[:, 1])
        notch = smooth(
            (
                (gap_x[0], gap_y[0] - 0.001),
                (gap_x.mean(), gap_y.mean() + 0.0025),
                (gap_x[1], gap_y[1] - 0.001),
            ),
            4,
        )
        notches.append(notch)
        line = np.array(((gap_x[0], gap_y[0] - height), (gap_x[0], gap_y[0])), np.float32)
        lines.append(line)
    coverage, place = canvas.mask(notches)
    canvas.blend(coverage, place, ivory * 0.98)
    canvas.stroke(lines, (136, 110, 100), 0.0018, 0.6)
    ends = [lips["upper"][:3], lips["upper"][-3:]]
    canvas.shade(ends, (0.3, 0.22, 0.22), 0.95, 0.014, 0.03)
    canvas.shade([lips["upper"]], (0.5, 0.4, 0.4), 0.75, 0.004, 0.009)
