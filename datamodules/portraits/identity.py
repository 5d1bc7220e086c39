"""What stays the same over all pictures of one person."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Class names of every discrete label; the label is the position in the tuple.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "skin": ("porcelain", "light", "beige", "tan", "brown", "dark"),
    "hair_colour": ("black", "dark_brown", "brown", "blond", "red", "grey"),
    "hair_style": ("bald", "short", "parted", "fringe", "long", "curly"),
    "eye_colour": ("brown", "blue", "green", "grey"),
    "glasses": ("none", "round", "square"),
    "beard": ("none", "stubble", "moustache", "full"),
    "expression": ("neutral", "smile", "teeth", "open"),
    "background": ("gradient", "bokeh", "stripes", "blocks"),
    "light": ("left", "front", "right"),
}

SKIN_RGB = (
    (236, 198, 178),
    (228, 184, 156),
    (210, 160, 126),
    (182, 130, 96),
    (146, 98, 70),
    (108, 73, 56),
)
HAIR_RGB = (
    (34, 29, 29),
    (70, 46, 34),
    (122, 84, 52),
    (206, 166, 104),
    (158, 74, 36),
    (168, 166, 164),
)
EYE_RGB = ((98, 58, 30), (84, 132, 182), (92, 128, 74), (132, 142, 148))
FRAME_RGB = ((24, 22, 24), (96, 52, 28), (150, 118, 52), (138, 142, 150), (120, 26, 34))


@dataclass(frozen=True)
class Identity:
    """One person, with lengths as factors around 1, class labels as integers and shares in 0..1."""

    index: int
    # Class labels, see ATTRIBUTES.
    skin: int
    hair_colour: int
    hair_style: int
    eye_colour: int
    glasses: int
    beard: int
    frame_colour: int
    # 0 feminine .. 1 masculine, shifts several of the other fields.
    masculine: float
    # Face outline.
    face_width: float
    face_length: float
    jaw_width: float
    chin_width: float
    cheek_width: float
    forehead_width: float
    # Eyes and brows.
    eye_size: float
    eye_spacing: float
    eye_tilt: float
    eye_aspect: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_length: float
    # Nose, mouth, ears.
    nose_width: float
    nose_length: float
    nose_relief: float
    mouth_width: float
    mouth_height: float
    upper_lip: float
    lower_lip: float
    ear_size: float
    ear_out: float
    # Hair.
    hairline: float
    widow_peak: float
    hair_volume: float
    hair_part: float
    hair_wave: float
    hair_tone: float
    # Skin.
    warm: float
    lip_red: float
    freckles: float
    wrinkles: float
    mole_x: float
    mole_y: float


def _near(rng: np.random.Generator, centre: float, spread: float) -> float:
    """Draws a normal value cut at two spreads on either side of the centre."""
    return float(centre + spread * min(max(rng.standard_normal(), -2.0), 2.0))


@lru_cache(maxsize=64)  # all pictures of a person are rendered one after the other
def sample_identity(seed: int, index: int) -> Identity:
    """Draws person `index` of the population `seed`, independent of any other person."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, index, 1)))
    masculine = float(np.clip(rng.beta(0.6, 0.6), 0.0, 1.0))
    male = masculine > 0.5
    skin = int(rng.integers(6))
    # Light hair on dark skin is rare in photographs; it is kept rare here, not absent.
    dark_hair = (0.5, 0.24, 0.08, 0.05, 0.05, 0.08)
    light_hair = (0.14, 0.2, 0.2, 0.2, 0.14, 0.12)
    hair_colour = int(rng.choice(6, p=dark_hair if skin >= 3 else light_hair))
    styles = (0.14, 0.34, 0.2, 0.14, 0.05, 0.13) if male else (0.03, 0.08, 0.19, 0.19, 0.33, 0.18)
    eyes = (0.64, 0.1, 0.14, 0.12) if skin >= 3 else (0.28, 0.28, 0.24, 0.2)
    grey = hair_colour == 5
    shift = masculine - 0.5
    return Identity(
        index=int(index),
        skin=skin,
        hair_colour=hair_colour,
        hair_style=int(rng.choice(6, p=styles)),
        eye_colour=int(rng.choice(4, p=eyes)),
        glasses=int(rng.choice(3, p=(0.64, 0.18, 0.18))),
        beard=int(rng.choice(4, p=(0.3, 0.22, 0.2, 0.28))) if male else 0,
        frame_colour=int(rng.integers(len(FRAME_RGB))),
        masculine=masculine,
        face_width=_near(rng, 1.0, 0.04),
        face_length=_near(rng, 1.0 + 0.03 * shift, 0.03),
        jaw_width=_near(rng, 1.0 + 0.1 * shift, 0.06),
        chin_width=_near(rng, 1.0 + 0.3 * shift, 0.15),
        cheek_width=_near(rng, 1.0, 0.025),
        forehead_width=_near(rng, 1.0, 0.03),
        eye_size=_near(rng, 1.02 - 0.1 * shift, 0.06),
        eye_spacing=_near(rng, 1.0, 0.035),
        eye_tilt=_near(rng, 0.004, 0.006),
        eye_aspect=_near(rng, 1.0, 0.12),
        brow_height=_near(rng, 1.0 - 0.12 * shift, 0.09),
        brow_thickness=_near(rng, 1.0 + 0.7 * shift, 0.22),
        brow_arch=_near(rng, 1.0 - 0.7 * shift, 0.3),
        brow_length=_near(rng, 1.0, 0.06),
        nose_width=_near(rng, 1.0 + 0.12 * shift + 0.03 * (skin - 2), 0.09),
        nose_length=_near(rng, 1.0, 0.05),
        nose_relief=_near(rng, 1.0, 0.15),
        mouth_width=_near(rng, 1.0, 0.07),
        mouth_height=_near(rng, 1.0, 0.02),
        upper_lip=_near(rng, 1.0 - 0.35 * shift, 0.2),
        lower_lip=_near(rng, 1.0 - 0.3 * shift, 0.17),
        ear_size=_near(rng, 1.0 + 0.1 * shift, 0.08),
        ear_out=_near(rng, 1.0, 0.3),
        hairline=_near(rng, 0.0, 0.016),
        widow_peak=_near(rng, 0.0, 0.008),
        hair_volume=_near(rng, 1.0, 0.25),
        hair_part=float(rng.choice((-1.0, 1.0)) * rng.uniform(0.15, 0.8)),
        hair_wave=float(rng.uniform(0.0, 1.0)),
        hair_tone=_near(rng, 1.0, 0.1),
        warm=_near(rng, 0.0, 0.4),
        lip_red=float(rng.uniform(0.15, 1.0 if male else 1.6)),
        freckles=float(max(0.0, rng.uniform(-1.2, 1.0))) * (1.0 if skin < 3 else 0.4),
        wrinkles=float(np.clip(rng.uniform(-0.5, 0.8) + (0.45 if grey else 0.0), 0.0, 1.0)),
        # Four people in ten have a mole; the others carry it outside the face, at y = 9.
        mole_x=float(rng.uniform(-0.16, 0.16)),
        mole_y=float(rng.uniform(0.08, 0.34) if rng.uniform() < 0.4 else 9.0),
    )
