"""Degradation settings as ranges: what they may be, and how they shrink with the image."""

import math
from dataclasses import dataclass, replace

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
        then: What is done to the result, in the same five steps: a second-order degradation, and
            so on; None for first order. The presets have none.
    """

    kernel: tuple[int, int]
    sigma: Range
    down: Range
    noise: Range
    jpeg: tuple[int, int]
    gray: float = 0.0
    anisotropic: float = 0.5
    then: "Degradation | None" = None

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
        512 px would leave 16 pixels of 64. Noise and JPEG are unchanged. Our choice (O). Further
        orders are scaled likewise.

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
            then=self.then.scaled(scale) if self.then else None,
        )


def _odd(size: float) -> int:
    """Returns the smallest odd number of at least ``size`` and 3."""
    return max(3, 2 * math.ceil((size - 1) / 2) + 1)
