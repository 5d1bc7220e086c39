"""What the pictures of a dictionary are drawn from, published by both stage-1 modules."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from osdface.networks.autoencoder import VQAutoencoder

SHOWN_ENTRIES = 64
# Pixels a side that a decoded entry is kept at: a swatch needs no more, and 64 of them are kept.
SWATCH = 64
_AT_ONCE = 8


@torch.no_grad()
def decode_entries(
    autoencoder: VQAutoencoder, counts: Tensor, grid: tuple[int, int], count: int = SHOWN_ENTRIES
) -> Tensor:
    """Decodes the most used entries, each alone on the whole token grid (ours, O).

    The decoder then shows the colour and texture that it ties to the entry. An entry amid mean
    tokens shows mostly the decoder's answer to the mean: all such pictures look alike.

    Args:
        autoencoder: The dictionary with its decoder.
        counts: How often each entry was chosen, (K,); entries without use are left out.
        grid: Height and width of the token grid, as in training.
        count: Entries at most.

    Returns:
        (n, 3, h, w) in [-1, 1] on the CPU, most used first; sides are at most :data:`SWATCH`.
    """
    order = counts.argsort(descending=True, stable=True)[:count]
    order = order[counts[order] > 0].to(autoencoder.quantizer.codebook.device)
    if not len(order):
        return torch.zeros(0, 3, SWATCH, SWATCH)
    swatches = []
    for chosen in order.split(_AT_ONCE):
        part = autoencoder.quantizer.codebook[chosen]
        image = autoencoder.decode(part[:, :, None, None].expand(-1, -1, *grid)).float()
        if max(image.shape[-2:]) > SWATCH:
            image = F.interpolate(image, (SWATCH, SWATCH), mode="area")
        swatches.append(image.clamp(-1, 1).cpu())
    return torch.cat(swatches)


def codebook_report(
    autoencoders: dict[str, VQAutoencoder],
    counts: dict[str, Tensor],
    grid: tuple[int, int],
    similarity: Tensor | None = None,
) -> dict[str, Any]:
    """Returns what ``callbacks.CodebookPictures`` draws.

    Returns:
        ``counts``: domain -> (K,), ``entries``: domain -> (n, 3, h, w), and ``similarity``,
        (N, N) or None; all on the CPU.
    """
    entries = {d: decode_entries(a, counts[d], grid) for d, a in autoencoders.items()}
    return {"counts": counts, "entries": entries, "similarity": similarity}
