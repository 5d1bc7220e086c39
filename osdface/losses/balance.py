"""What each term of a loss does to the restored latent, so that weights can be balanced."""

from collections.abc import Mapping

import torch
from torch import Tensor


def latent_gradient_norms(terms: Mapping[str, Tensor], latent: Tensor) -> dict[str, Tensor]:
    """Returns the L2 norm of each term's gradient at the latent, over the whole batch.

    One more backward pass for each term. No parameter's gradient is touched and the graph is kept,
    so that a step that asks for the norms goes on as if it had not.

    Args:
        terms: Name -> scalar that depends on ``latent``; the weighted terms of the loss.
        latent: z_H^, (B, C, h, w), part of their graph.
    """
    return {
        name: torch.autograd.grad(value, latent, retain_graph=True)[0].norm()
        for name, value in terms.items()
    }
