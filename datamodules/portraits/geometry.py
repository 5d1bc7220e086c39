"""Curves, the pose, and the places of all features of one face."""

from functools import cached_property, lru_cache

import numpy as np

from datamodules.portraits.identity import Identity
from datamodules.portraits.nuisance import Nuisance

EYE_X, EYE_Y = 0.12, 0.47  # half the eye distance and eye height in the frame (FFHQ crop)
HEAD_DEPTH = 0.29  # how far the front of the head stands before its silhouette


@lru_cache(maxsize=64)
def _spline_basis(count: int, steps: int, closed: bool) -> np.ndarray:
    """Returns the Catmull-Rom matrix (points out, points in)."""
    spans = count if closed else count - 1
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack(
        (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3), 1
    )
    basis = np.zeros((spans * steps + (0 if closed else 1), count))
    for span in range(spans):
        for k in range(4):
            i = span + k - 1
            i = i % count if closed else min(max(i, 0), count - 1)
            basis[span * steps : (span + 1) * steps, i] += weights[:, k]
    if not closed:
        basis[-1, -1] = 1.0
    return basis.astype(np.float32)


def smooth(points, steps: int = 6, closed: bool = False) -> np.ndarray:
    """Returns a smooth curve (M, D) through the points (N, D)."""
    points = np.asarray(points, np.float32)
    return _spline_basis(len(points), steps, closed) @ points


def mirrored(half) -> np.ndarray:
    """Returns left-to-right points from the right half listed from the middle outwards."""
    half = np.asarray(half, np.float32)
    left = half[::-1] * (-1, 1)
    return np.concatenate((left, half[1:] if half[0, 0] == 0 else half))


@lru_cache(maxsize=8)
def _circle(count: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.arange(count) * (2 * np.pi / count)
    return np.cos(a), np.sin(a)


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 24) -> np.ndarray:
    """Returns the points (count, 2) of an ellipse."""
    cos, sin = _circle(count)
    points = np.empty((count, 2), np.float32)
    points[:, 0] = x + rx * cos
    points[:, 1] = y + ry * sin
    return points


class Face:
    """The geometry of one portrait.

    Points of the face are written in face coordinates: origin between the eyes, x to the right,
    y down, in frame widths; `at` brings them into the frame (0..1) under the pose.
    """

    def __init__(self, ident: Identity, shot: Nuisance) -> None:
        self.ident, self.shot = ident, shot
        cy, sy = np.cos(shot.yaw), np.sin(shot.yaw)
        cp, sp = np.cos(shot.pitch), np.sin(shot.pitch)
        turn = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
        nod = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
        cr, sr = np.cos(shot.roll), np.sin(shot.roll)
        tilt = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
        self.matrix = (tilt @ nod @ turn)[:2].astype(np.float32)
        # Crops are aligned on the eyes, so a turned head is enlarged and moved back a little.
        self.scale = shot.scale * (0.4 + 0.6 / cy)
        self.origin = np.zeros(2, np.float32)
        middle = self.at(np.zeros((1, 2)))[0]
        target = (0.5 + shot.shift_x + 0.12 * sy, EYE_Y + shot.shift_y)
        self.origin = (np.array(target) - middle).astype(np.float32)

        self.eye_x = EYE_X * ident.eye_spacing
        self.width = 0.272 * ident.face_width
        self.nose_y = 0.128 * ident.nose_length
        self.mouth_y = 0.232 * ident.mouth_height
        self.jaw_drop = 0.035 * shot.mouth_open
        self.chin_y = 0.445 * ident.face_length + self.jaw_drop
        self._mouth()

    def depth(self, xy: np.ndarray) -> np.ndarray:
        """Returns how far points (..., 2) of the head's front stand before the silhouette."""
        x, y = xy[..., 0] / 0.31, (xy[..., 1] - 0.02) / 0.5
        return HEAD_DEPTH * np.sqrt(np.maximum(1.0 - (x * x + y * y), 0.0))

    def at(self, xy, lift: float = 0.0, z=None) -> np.ndarray:
        """Projects face points (..., 2) on the frame; z is the head surface plus `lift`."""
        xy = np.asarray(xy, np.float32)
        solid = np.empty((*xy.shape[:-1], 3), np.float32)
        solid[..., :2] = xy
        solid[..., 2] = self.depth(xy) + lift if z is None else z
        flat = solid.reshape(-1, 3) @ self.matrix.T
        flat *= np.float32(self.scale)
        flat += self.origin
        return flat.reshape(xy.shape)

    def outline_points(self) -> np.ndarray:
        """Returns the control points (N, 3) of the face outline, clockwise from the top, with z."""
        i, w, c = self.ident, self.width, self.chin_y
        half = np.array(
            (
                (0.0, -0.375, 0.0),
                (0.145 * i.forehead_width, -0.343, 0.0),
                (0.236 * i.forehead_width, -0.235, 0.0),
                (w * 0.985 * i.forehead_width, -0.11, 0.0),
                (w, 0.01, 0.0),
                (w * 0.965 * i.cheek_width, 0.11, 0.02),
                (w * 0.83 * i.jaw_width, 0.235 + 0.4 * self.jaw_drop, 0.04),
                (w * 0.61 * i.jaw_width, c - 0.094, 0.07),
                (0.07 * i.chin_width, c - 0.015, 0.11),
                (0.0, c, 0.12),
            ),
            np.float32,
        )
        left = half[-2:0:-1] * (-1, 1, 1)
        return np.concatenate((half, left)).astype(np.float32)

    def outline(self) -> np.ndarray:
        """Returns the face outline (M, 2) in the frame."""
        curve = smooth(self.outline_points(), 6, closed=True)
        return self.at(curve[:, :2], z=curve[:, 2])

    @cached_property
    def _eyes(self) -> dict[int, dict[str, np.ndarray]]:
        return {side: self._eye(side) for side in (-1, 1)}

    def eye(self, side: int) -> dict[str, np.ndarray]:
        """Returns one eye (side -1 left in the picture, +1 right) as frame curves.

        Keys: upper and lower lid (inner to outer corner), crease, iris centre, eye centre.
        """
        return self._eyes[side]

    def _eye(self, side: int) -> dict[str, np.ndarray]:
        i, shot = self.ident, self.shot
        s = np.linspace(-1.0, 1.0, 15, dtype=np.float32)
        half = 0.056 * i.eye_size
        squeeze = 1.0 - 0.22 * max(shot.smile, 0.0)
        up = 0.0275 * i.eye_size * i.eye_aspect * shot.eye_open * squeeze
        down = 0.0165 * i.eye_size * i.eye_aspect * (0.7 + 0.3 * shot.eye_open) * squeeze
        lean = -i.eye_tilt * s
        x = side * (self.eye_x + half * s)
        upper = lean - up * (1 - np.abs(s) ** 2.3) * (1 - 0.12 * s)
        lower = lean + down * (1 - np.abs(s) ** 2.0) * (1 + 0.2 * s)
        crease = lean * 1.3 - (up * 1.12 + 0.011) * (1 - 0.8 * np.abs(s) ** 2.6) + 0.002

        def place(y):
            return self.at(np.stack((x, y), 1))

        gaze = (side * self.eye_x + 0.014 * shot.gaze_x, -0.004 + 0.008 * shot.gaze_y)
        return {
            "upper": place(upper),
            "lower": place(lower),
            "crease": place(crease),
            "iris": self.at(gaze),
            "centre": self.at((side * self.eye_x, -0.003)),
        }

    def brow(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the middle line (M, 2) of a brow in face coordinates and its half thickness."""
        i, shot = self.ident, self.shot
        s = np.linspace(0.0, 1.0, 13, dtype=np.float32)
        x = side * (self.eye_x - 0.064 + 0.142 * i.brow_length * s)
        y = -0.064 * i.brow_height - 0.014 * shot.brow_raise + 0.006
        y = y - 0.02 * i.brow_arch * np.sin(np.pi * (0.12 + 0.83 * s) ** 1.2) + 0.012 * s**3
        thick = 0.0105 * i.brow_thickness * np.sin(np.pi * (0.2 + 0.78 * s)) ** 0.6
        return np.stack((x, y), 1), thick

    def _mouth(self) -> None:
        """Sets the lip curves in face coordinates, each (17, 2) from left to right."""
        i, shot = self.ident, self.shot
        s = np.linspace(-1.0, 1.0, 17, dtype=np.float32)
        half = 0.083 * i.mouth_width * (1 + 0.2 * max(shot.smile, -0.2) - 0.12 * shot.mouth_open)
        arch = 1 - np.abs(s) ** 2.0
        smile = -0.021 * shot.smile * np.abs(s) ** 1.7 + 0.004 * shot.smile
        line = self.mouth_y + smile + 0.0035 * np.cos(2.2 * np.pi * s) * arch
        grin = 0.028 if shot.expression == 2 else 0.0
        gap = 0.075 * shot.mouth_open if shot.expression == 3 else grin + 0.01 * shot.mouth_open
        top = line - 0.3 * gap * arch**0.8
        bottom = line + 0.7 * gap * arch**0.7
        bow = (
            arch**0.75
            + 0.18 * np.exp(-(((np.abs(s) - 0.2) / 0.16) ** 2))
            - 0.12 * np.exp(-((s / 0.1) ** 2))
        )
        stretch = 1.0 - 0.25 * max(shot.smile, 0.0)
        x = half * s
        self.lip_half = half
        self.lips = {
            "top": np.stack((x, top - 0.021 * i.upper_lip * stretch * bow), 1),
            "upper": np.stack((x, top), 1),
            "lower": np.stack((x, bottom), 1),
            "bottom": np.stack((x, bottom + 0.031 * i.lower_lip * stretch * arch**0.62), 1),
        }
        self.gap = gap


LANDMARK_NAMES: tuple[str, ...] = (
    "eye_left",
    "eye_right",
    "iris_left",
    "iris_right",
    "eye_left_inner",
    "eye_left_outer",
    "eye_right_inner",
    "eye_right_outer",
    "brow_left_inner",
    "brow_left_outer",
    "brow_right_inner",
    "brow_right_outer",
    "nose_bridge",
    "nose_tip",
    "nose_left",
    "nose_right",
    "mouth_left",
    "mouth_right",
    "lip_top",
    "lip_bottom",
    "jaw_left_0",
    "jaw_left_1",
    "jaw_left_2",
    "jaw_left_3",
    "chin",
    "jaw_right_3",
    "jaw_right_2",
    "jaw_right_1",
    "jaw_right_0",
)  # left and right as seen in the picture; jaw 0 at eye height .. 3 beside the chin


def landmarks(face: Face) -> np.ndarray:
    """Returns the landmarks (K, 2) in frame coordinates, ordered as LANDMARK_NAMES."""
    left, right = face.eye(-1), face.eye(1)
    brows = [face.at(face.brow(side)[0][[0, -1]]) for side in (-1, 1)]
    nose = face.at(
        (
            (-0.042 * face.ident.nose_width, face.nose_y + 0.012),
            (0.042 * face.ident.nose_width, face.nose_y + 0.012),
        ),
        0.02,
    )
    lips = face.lips
    mouth = face.at((lips["upper"][0], lips["upper"][-1], lips["top"][8], lips["bottom"][8]))
    ring = face.outline_points()
    jaw = face.at(ring[4:15, :2], z=ring[4:15, 2])
    jaw = jaw[::-1][[0, 2, 3, 4, 5, 6, 7, 8, 10]]  # from the left side over the chin
    return np.concatenate(
        (
            [left["centre"], right["centre"], left["iris"], right["iris"]],
            left["upper"][[0, -1]],
            right["upper"][[0, -1]],
            brows[0],
            brows[1],
            [face.at((0.0, 0.005), 0.03), face.at((0.0, face.nose_y), 0.085)],
            nose,
            mouth,
            jaw,
        )
    ).astype(np.float32)
