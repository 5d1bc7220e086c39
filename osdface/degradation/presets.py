"""Degradation settings: the six published presets, custom ranges, scaling to small images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from osdface.errors import UserError

Range = tuple[float, float]


@dataclass(frozen=True)
class Degradation:
    """Ranges of blur -> down -> Gaussian noise -> JPEG -> up; each value is drawn uniformly.

    Attributes:
        kernel: Odd kernel sizes in pixels, first and last.
        sigma: Gaussian standard deviation in pixels; anisotropic kernels draw it for each axis.
        down: Factor by which the side is divided; below 1 enlarges.
        noise: Standard deviation of the noise, in units of 1/255.
        jpeg: JPEG quality, 1 to 100, whole numbers.
        gray: Share of low-quality images turned gray.
        anisotropic: Share of anisotropic kernels; the others are isotropic.
    """

    kernel: tuple[int, int]
    sigma: Range
    down: Range
    noise: Range
    jpeg: tuple[int, int]
    gray: float = 0.0
    anisotropic: float = 0.5

    def __post_init__(self) -> None:
        for name, low, high in (
            ("kernel", 1, 1023), ("sigma", 1e-4, 1e3), ("down", 0.05, 1e3),
            ("noise", 0, 255), ("jpeg", 1, 100),
        ):  # fmt: skip
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise UserError(
                    f"degradation.{name} is [{first}, {last}]: give a range [low, high] "
                    f"within {low} and {high}."
                )
        if self.kernel[0] % 2 == 0 or self.kernel[1] % 2 == 0:
            raise UserError(f"degradation.kernel is {list(self.kernel)}: kernel sizes must be odd.")
        for name in ("gray", "anisotropic"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"degradation.{name} is {getattr(self, name)}: it is a share between 0 and 1."
                )

    def scaled(self, scale: float) -> "Degradation":
        """Returns the settings for images that are ``scale`` times 512 px wide.

        The presets are defined at 512 px. Sigma is multiplied by ``scale``, the kernel becomes the
        next odd size (at least 3) and the upper end of the down range shrinks likewise, but stays
        0.2 above the lower end. A lower end above 1 shrinks down to 1, because "at least 4x" at
        512 px would leave 16 pixels of 64. Noise and JPEG are unchanged. Our choice (O).

        Raises:
            UserError: ``scale`` is not positive.
        """
        if not scale > 0:
            raise UserError(f"degradation.strength_scale is {scale}: give a positive number.")
        if scale == 1:
            return self
        low, high = self.down
        low = low if low <= 1 else max(1.0, low * scale)
        return replace(
            self,
            kernel=(_odd(self.kernel[0] * scale), _odd(self.kernel[1] * scale)),
            sigma=(max(self.sigma[0] * scale, 1e-4), self.sigma[1] * scale),
            down=(low, max(low + 0.2, high * scale)),
        )


def _odd(size: float) -> int:
    """Returns the smallest odd number of at least ``size`` and 3."""
    return max(3, 2 * math.ceil((size - 1) / 2) + 1)


# Sources: D = DAEFR's released configs, 2 = a secondary source, else the named repository's config.
# fmt: off
_ = Degradation
PRESETS: dict[str, Degradation] = {
    #                    kernel    sigma      down       noise    JPEG q     gray    source
    "daefr_codebook": _((39, 41), (0.1, 10), (0.8, 8),  (0, 20), (60, 100)),         # D, stage 1
    "daefr_final":    _((39, 41), (0.1, 15), (0.8, 30), (0, 20), (30, 100)),         # D
    "waveface":       _((41, 41), (0.1, 10), (0.8, 16), (0, 15), (40, 95)),          # 2, stage 2
    "codeformer":     _((41, 41), (1, 15),   (4, 30),   (0, 20), (30, 80)),          # CodeFormer
    "osediff_face":   _((41, 41), (1, 15),   (1, 30),   (0, 20), (30, 100)),         # OSEDiff
    "difface":        _((41, 41), (0.1, 15), (0.8, 32), (0, 20), (30, 100), 0.01),   # DifFace
}
# fmt: on


def build_degradation(config: str | Mapping[str, Any]) -> Degradation:
    """Returns the settings of a preset name or of a mapping.

    Args:
        config: A preset name, or a mapping with ``preset`` and, if wanted, ``strength_scale``
            (float, default 1, see :meth:`Degradation.scaled`) and any field of
            :class:`Degradation`, which replaces the preset's at 512 px. Without ``preset`` all five
            ranges must be given.

    Raises:
        UserError: Unknown preset or key, missing or impossible range.
    """
    settings = {"preset": config} if isinstance(config, str) else dict(config)
    name = settings.pop("preset", None)
    scale = _number("strength_scale", settings.pop("strength_scale", 1.0))
    known = {field.name for field in fields(Degradation)}
    for key in settings:
        if key not in known:
            names = ["preset", "strength_scale", *sorted(known)]
            raise UserError(f"Unknown key degradation.{key}{_suggest(key, names)}")
    values = {key: _value(key, value) for key, value in settings.items() if value is not None}
    if name is not None:
        if name not in PRESETS:
            raise UserError(f"Unknown degradation preset {name!r}{_suggest(str(name), PRESETS)}")
        return replace(PRESETS[name], **values).scaled(scale)
    if missing := {"kernel", "sigma", "down", "noise", "jpeg"} - set(values):
        raise UserError(
            f"degradation has neither a preset nor {', '.join(sorted(missing))}: name a preset "
            "or give all five ranges."
        )
    return Degradation(**values).scaled(scale)


def _suggest(name: str, names: Any) -> str:
    near = get_close_matches(name, list(names), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f": {hint}Known are {', '.join(names)}."


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"degradation.{key} is {value!r}: give a number.") from None


def _value(key: str, value: Any) -> Any:
    if key in ("gray", "anisotropic"):
        return _number(key, value)
    pair = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value] * 2
    if len(pair) != 2:
        raise UserError(f"degradation.{key} is {value!r}: give [low, high].")
    numbers = [_number(key, item) for item in pair]
    if key not in ("kernel", "jpeg"):
        return tuple(numbers)
    if any(number != int(number) for number in numbers):
        raise UserError(f"degradation.{key} is {value!r}: give whole numbers.")
    return tuple(int(number) for number in numbers)
