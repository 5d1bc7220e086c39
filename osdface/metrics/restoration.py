"""All figures of a restoration in one metric."""

from collections.abc import Sequence

from torch import Tensor, nn

from osdface.errors import UserError
from osdface.metrics.identity import IdentitySimilarity
from osdface.metrics.per_image import PerImageMean
from osdface.metrics.perceptual import PerceptualDistance
from osdface.metrics.pixel import PixelMetrics
from osdface.networks.identity import IdentityEncoder

NAMES = ("psnr", "ssim", "perceptual", "identity", "identity_angle", "l1")


class RestorationMetrics(PerImageMean):
    """``psnr, ssim, perceptual, identity, identity_angle, l1`` as means over images.

    Images (B, 3, H, W) in [-1, 1], restored ones are clamped. Unlike a MetricCollection it has one
    state, so that ranks exchange one vector.

    Args:
        perceptual: A perceptual loss module, or None to leave its figure out.
        identity: A recognition network, or None to leave both identity figures out.
        more: Further metrics, whose figures follow.
    """

    def __init__(
        self,
        perceptual: nn.Module | None,
        identity: IdentityEncoder | None,
        more: Sequence[PerImageMean] = (),
    ) -> None:
        parts: list[PerImageMean] = [PixelMetrics()]
        parts += [] if perceptual is None else [PerceptualDistance(perceptual)]
        parts += [] if identity is None else [IdentitySimilarity(identity)]
        found = {name for part in parts for name in part.names}
        further = [name for part in more for name in part.names]
        if doubled := {name for name in further if name in found or further.count(name) > 1}:
            raise UserError(f"Two metrics have a figure {min(doubled)!r}: name one differently.")
        super().__init__((*(name for name in NAMES if name in found), *further))
        self.parts = nn.ModuleList([*parts, *more])

    def per_image(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        restored, target = restored.clamp(-1, 1), target.clamp(-1, 1)
        figures: dict[str, Tensor] = {}
        for part in self.parts:
            assert isinstance(part, PerImageMean)
            figures |= part.per_image(restored, target)
        return figures

    def specification(self) -> dict[str, str]:
        """Returns for every figure how it is computed and on which network it depends."""
        found: dict[str, str] = {}
        for part in self.parts:
            assert isinstance(part, PerImageMean)
            found |= part.specification()
        return {name: found[name] for name in self.names}
