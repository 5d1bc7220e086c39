"""What happens to one image, drawn from a degradation's ranges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from osdface.degradation.ranges import Degradation


@dataclass(frozen=True)
class Parameters:
    """What happens to one image; ranges and units as in :class:`Degradation`.

    Attributes:
        kernel_size: Odd kernel size in pixels.
        sigma_x: Standard deviation in pixels; ``sigma_y`` likewise, None for isotropic kernels.
        theta: Rotation of an anisotropic kernel in radians, [-pi, pi).
        down: Factor by which the side is divided.
        noise: Standard deviation of the noise in units of 1/255.
        jpeg_quality: 1 to 100.
        gray: Whether the low-quality image is turned gray at the end.
        then: What is done to the result; None where nothing is.
    """

    kernel_size: int
    sigma_x: float
    sigma_y: float | None
    theta: float
    down: float
    noise: float
    jpeg_quality: int
    gray: bool = False
    then: "Parameters | None" = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Parameters":
        """Returns what ``dataclasses.asdict`` made into a mapping."""
        then = values.get("then")
        return cls(**{**values, "then": cls.from_dict(then) if then else None})


def sample_parameters(degradation: Degradation, rng: np.random.Generator) -> Parameters:
    """Draws one image's parameters, each uniformly from its range.

    The number of draws is always the same, so changing one range leaves the other values alone; a
    further order draws after the one before it.
    """
    first, last = degradation.kernel
    size = first + 2 * int(rng.integers((last - first) // 2 + 1))
    anisotropic = rng.random() < degradation.anisotropic
    sigma_x, sigma_y = rng.uniform(*degradation.sigma, size=2).tolist()
    theta = float(rng.uniform(-np.pi, np.pi))
    return Parameters(
        kernel_size=size,
        sigma_x=sigma_x,
        sigma_y=sigma_y if anisotropic else None,
        theta=theta if anisotropic else 0.0,
        down=float(rng.uniform(*degradation.down)),
        noise=float(rng.uniform(*degradation.noise)),
        jpeg_quality=int(rng.integers(degradation.jpeg[0], degradation.jpeg[1] + 1)),
        gray=bool(rng.random() < degradation.gray),
        then=sample_parameters(degradation.then, rng) if degradation.then else None,
    )
