"""Losses; those of restored images are built by name and weighted together."""

import difflib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.extensions import find_class
from osdface.losses.dists import DISTS
from osdface.losses.edge_aware import EdgeAware
from osdface.losses.identity import IdentityLoss
from osdface.losses.lpips import LPIPS
from osdface.losses.perceptual import PerceptualLoss
from osdface.losses.pixel import L1, MSE
from osdface.networks.identity import IdentityEncoder
from osdface.networks.trunk import PerceptualTrunk

__all__ = ["LOSS_NAMES", "WeightedLosses", "build_loss"]

_PIXEL: dict[str, Callable[[], nn.Module]] = {"mse": MSE, "l1": L1}
_PERCEPTUAL: dict[str, Callable[[PerceptualTrunk], PerceptualLoss]] = {
    "dists": DISTS,
    "ea_dists": lambda trunk: EdgeAware(DISTS(trunk)),
    "lpips": LPIPS,
    "ea_lpips": lambda trunk: EdgeAware(LPIPS(trunk)),
}
LOSS_NAMES = (*_PIXEL, *_PERCEPTUAL, "identity")


def build_loss(
    name: str, trunk: PerceptualTrunk | None = None, identity: IdentityEncoder | None = None
) -> nn.Module:
    """Returns a loss that maps (restored, target), (B, 3, H, W) in [-1, 1], to a scalar.

    Args:
        name: One of ``LOSS_NAMES``, or a file of this folder with a class of that ``name``.
        trunk: Feature trunk of the perceptual losses.
        identity: Recognition network of the identity loss.

    Raises:
        UserError: The name is unknown, or the network that the loss needs is None.
    """
    own = find_class(__name__, name, nn.Module) if name not in LOSS_NAMES else None
    if own is not None:
        return own()
    if name not in LOSS_NAMES:
        near = difflib.get_close_matches(name, LOSS_NAMES, n=len(LOSS_NAMES), cutoff=0.0)
        raise UserError(f"Unknown loss {name!r}: the nearest names are {', '.join(near)}.")
    if name in _PIXEL:
        return _PIXEL[name]()
    if name == "identity":
        if identity is None:
            raise UserError("The loss 'identity' needs identity=, see load_identity.")
        return IdentityLoss(identity)
    if trunk is None:
        raise UserError(f"The loss {name!r} needs trunk=, see load_trunk.")
    return _PERCEPTUAL[name](trunk)


class WeightedLosses(nn.Module):
    """A weighted sum of losses between restored and target images (B, 3, H, W) in [-1, 1].

    Args:
        weights: Loss name -> weight. A weight of 0 drops the loss: it is neither built nor
            computed, and needs no network.
        trunk: Feature trunk of the perceptual losses.
        identity: Recognition network of the identity loss.
        lpips_trunk: Trunk of LPIPS where it differs, as VGG16's pooling does; default ``trunk``.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        trunk: PerceptualTrunk | None = None,
        identity: IdentityEncoder | None = None,
        lpips_trunk: PerceptualTrunk | None = None,
    ) -> None:
        super().__init__()
        self.weights = {name: float(weight) for name, weight in weights.items() if weight != 0}
        trunks = {name: lpips_trunk or trunk if "lpips" in name else trunk for name in self.weights}
        self.losses = nn.ModuleDict(
            {name: build_loss(name, trunks[name], identity) for name in self.weights}
        )

    def forward(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Returns the raw (unweighted) terms by name."""
        return {name: loss(restored, target) for name, loss in self.losses.items()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of :meth:`forward`'s terms."""
        if not terms:
            raise UserError("All loss weights are 0: give at least one loss a weight.")
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
