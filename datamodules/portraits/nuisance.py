"""What changes from one picture of a person to the next."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Nuisance:
    """One shot: angles in radians, places in frame widths, shares in 0..1, labels as integers."""

    # Class labels, see ATTRIBUTES.
    expression: int
    background: int
    light: int
    # Pose.
    yaw: float
    pitch: float
    roll: float
    shift_x: float
    shift_y: float
    scale: float
    # Expression.
    smile: float
    mouth_open: float
    brow_raise: float
    eye_open: float
    gaze_x: float
    gaze_y: float
    # Light: unit direction towards the lamp (x right, y down, z to the viewer).
    light_x: float
    light_y: float
    light_z: float
    light_strength: float
    ambient: float
    temperature: float
    # Surroundings.
    background_hue: float
    background_value: float
    clothing_hue: float
    clothing_saturation: float
    clothing_value: float
    clothing_cut: float
    scene_seed: int


def sample_nuisance(rng: np.random.Generator) -> Nuisance:
    """Draws one shot from `rng`."""

    def near(centre: float, spread: float) -> float:
        return float(centre + spread * min(max(rng.standard_normal(), -2.0), 2.0))

    expression = int(rng.choice(4, p=(0.3, 0.27, 0.28, 0.15)))
    smile = (near(0.05, 0.12), rng.uniform(0.5, 1.0), rng.uniform(0.6, 1.0), near(0.05, 0.1))
    mouth_open = (0.0, 0.0, rng.uniform(0.25, 0.5), rng.uniform(0.45, 1.0))
    light = int(rng.integers(3))
    side = (-rng.uniform(0.6, 1.15), rng.uniform(-0.22, 0.22), rng.uniform(0.6, 1.15))[light]
    height = rng.uniform(0.15, 0.7)
    return Nuisance(
        expression=expression,
        background=int(rng.integers(4)),
        light=light,
        yaw=near(0.0, 0.14),
        pitch=near(0.0, 0.07),
        roll=near(0.0, 0.025),
        shift_x=near(0.0, 0.006),
        shift_y=near(0.0, 0.006),
        scale=near(1.0, 0.02),
        smile=float(smile[expression]),
        mouth_open=float(mouth_open[expression]),
        brow_raise=near(0.6 if expression == 3 else 0.0, 0.3),
        eye_open=float(np.clip(near(1.12 if expression == 3 else 1.0, 0.1), 0.75, 1.3)),
        gaze_x=near(0.0, 0.3),
        gaze_y=near(0.0, 0.2),
        light_x=float(np.sin(side) * np.cos(height)),
        light_y=float(-np.sin(height)),
        light_z=float(np.cos(side) * np.cos(height)),
        light_strength=float(rng.uniform(0.62, 0.95)),
        ambient=float(rng.uniform(0.26, 0.5)),
        temperature=near(0.0, 0.5),
        background_hue=float(rng.uniform(0.0, 1.0)),
        background_value=float(rng.uniform(0.2, 0.9)),
        clothing_hue=float(rng.uniform(0.0, 1.0)),
        clothing_saturation=float(rng.uniform(0.0, 0.75)),
        clothing_value=float(rng.uniform(0.15, 0.95)),
        clothing_cut=float(rng.uniform(0.0, 1.0)),
        scene_seed=int(rng.integers(2**31)),
    )
