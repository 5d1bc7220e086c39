"""Vector quantization: nearest neighbour in L2, straight-through, restart of dead entries."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def squared_distances(tokens: Tensor, codebook: Tensor) -> Tensor:
    """Returns squared L2 distances without a (tokens x entries x dim) tensor.

    Args:
        tokens: (..., N, C).
        codebook: (K, C).

    Returns:
        (..., N, K), at least 0.
    """
    distances = (
        tokens.square().sum(-1, keepdim=True) - 2 * tokens @ codebook.T + codebook.square().sum(-1)
    )
    return distances.clamp_min(0)


@dataclass
class Quantized:
    """What :class:`VectorQuantizer` gives for tokens (B, C, h, w).

    Attributes:
        entries: Nearest codebook entries, (B, C, h, w); gradient reaches the codebook.
        straight_through: The same values; gradient reaches the tokens unchanged.
        indices: Entry of each token, (B, h, w), int64.
    """

    entries: Tensor
    straight_through: Tensor
    indices: Tensor


class VectorQuantizer(nn.Module):
    """A codebook of ``entries`` vectors, initialised U(-1/entries, 1/entries) (R, D)."""

    def __init__(self, entries: int, dim: int) -> None:
        super().__init__()
        bound = 1.0 / entries
        self.codebook = nn.Parameter(torch.empty(entries, dim).uniform_(-bound, bound))
        # Training steps since each entry was last a nearest neighbour; survives a resume.
        self.register_buffer("idle_steps", torch.zeros(entries, dtype=torch.int64))
        self.idle_steps: Tensor

    def forward(self, tokens: Tensor) -> Quantized:
        """Quantizes tokens (B, C, h, w)."""
        batch, dim, height, width = tokens.shape
        flat = tokens.permute(0, 2, 3, 1).reshape(-1, dim)
        # Distances cancel in half precision, and training must choose what inference chooses.
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            dtype = torch.promote_types(tokens.dtype, torch.float32)
            indices = squared_distances(flat.to(dtype), self.codebook.to(dtype)).argmin(-1)
        entries = self.codebook[indices].view(batch, height, width, dim).permute(0, 3, 1, 2)
        straight_through = tokens + (entries - tokens).detach()
        return Quantized(entries, straight_through, indices.view(batch, height, width))

    @torch.no_grad()
    def count_idle(self, indices: Tensor) -> None:
        """Counts one step: entries among ``indices`` (any shape) were used, others idle on."""
        self.idle_steps += 1
        self.idle_steps[indices.unique()] = 0

    @torch.no_grad()
    def restart_dead(self, tokens: Tensor, idle_for: int, generator: torch.Generator) -> int:
        """Moves entries that idled for ``idle_for`` steps or more onto random tokens.

        Args:
            tokens: Tokens to draw from, (N, C); equal on all ranks, or the codebooks diverge.
            idle_for: Steps without use after which an entry is dead (ours, O).
            generator: CPU generator; equally seeded on all ranks.

        Returns:
            The number of restarted entries.
        """
        dead = (self.idle_steps >= idle_for).nonzero().flatten()
        chosen = torch.randint(len(tokens), (len(dead),), generator=generator).to(tokens.device)
        self.codebook[dead] = tokens[chosen].to(self.codebook.dtype)
        self.idle_steps[dead] = 0
        return len(dead)


def codebook_health(counts: Tensor) -> dict[str, float]:
    """Returns usage, perplexity and dead entries from how often each entry was chosen.

    Args:
        counts: (K,) non-negative counts over an epoch or a validation set.

    Returns:
        ``usage`` in [0, 1], ``perplexity`` in [1, K], ``dead_entries`` and ``entropy`` in nats.
    """
    probabilities = counts.double() / counts.sum().clamp_min(1)
    entropy = -torch.special.xlogy(probabilities, probabilities).sum()
    return {
        "usage": float((counts > 0).double().mean()),
        "perplexity": float(entropy.exp()),
        "dead_entries": float((counts == 0).sum()),
        "entropy": float(entropy),
    }
