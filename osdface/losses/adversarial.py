"""Adversarial losses on logits, and the adaptive weight of the taming family."""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from osdface.losses.perceptual import full_precision


class NonSaturating:
    """Binary cross-entropy GAN; the generator minimises -log D instead of log(1 - D).

    Logits of any shape, positive for "real" -> scalar. Source: OSDFace, L_G = -E log D(.).
    """

    def generator(self, fake: Tensor) -> Tensor:
        """Returns -E log sigmoid(fake)."""
        return F.softplus(-full_precision(fake)).mean()

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns (-E log sigmoid(real) - E log(1 - sigmoid(fake))) / 2; untrained log 2."""
        return (
            F.softplus(-full_precision(real)).mean() + F.softplus(full_precision(fake)).mean()
        ) / 2


class Hinge:
    """Hinge GAN: logits of any shape, positive for "real" -> scalar. Source: taming, stage 1."""

    def generator(self, fake: Tensor) -> Tensor:
        """Returns -E fake."""
        return -full_precision(fake).mean()

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns (E max(0, 1 - real) + E max(0, 1 + fake)) / 2."""
        return (
            F.relu(1 - full_precision(real)).mean() + F.relu(1 + full_precision(fake)).mean()
        ) / 2


def adaptive_weight(
    reconstruction: Tensor,
    adversarial: Tensor,
    last_layer: Tensor,
    maximum: float = 1e4,
    reduce: bool = False,
) -> Tensor:
    """Returns |grad rec| / (|grad gan| + 1e-4) at the decoder's last layer, detached, in [0, 1e4].

    Both graphs are kept, for the step that follows. Source: VQGAN, equation 7 and DAEFR's code.

    Args:
        reconstruction: Scalar loss that depends on ``last_layer``.
        adversarial: Scalar generator loss that depends on ``last_layer``.
        last_layer: Weight of the decoder's last convolution.
        maximum: Upper clamp.
        reduce: Average the gradients over the ranks first, which gives all ranks the weight of
            the whole batch. Every rank must call this.
    """
    norms = []
    for loss in (reconstruction, adversarial):
        (gradient,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
        if reduce and distributed.is_initialized():
            gradient = gradient.contiguous()
            distributed.all_reduce(gradient)
            gradient = gradient / distributed.get_world_size()
        norms.append(gradient.norm())
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, maximum).detach()
