"""The vector-quantisation loss."""

from torch import Tensor, nn


class CodebookLoss(nn.Module):
    """|sg[z] - e|^2 + beta |z - sg[e]|^2, means over all elements: codebook + commitment.

    ``z`` and its nearest entries ``e`` have one shape; ``e`` comes before the straight-through
    step. Source: VQ-VAE, equation 3, beta 0.25 (DAEFR).

    Args:
        beta: Weight of the commitment.
        swapped: beta on the codebook term instead: the historic bug of the taming family.
    """

    def __init__(self, beta: float = 0.25, swapped: bool = False) -> None:
        super().__init__()
        self.beta, self.swapped = beta, swapped

    def forward(self, z: Tensor, entries: Tensor) -> Tensor:
        codebook = (z.detach() - entries).square().mean()
        commitment = (z - entries.detach()).square().mean()
        if self.swapped:
            return self.beta * codebook + commitment
        return codebook + self.beta * commitment
