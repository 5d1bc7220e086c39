"""Collects over a validation what tells whether a dictionary has converged."""

import torch
import torch.distributed as dist
from torch import Tensor

from osdface.networks.autoencoder import Reconstruction
from osdface.networks.quantizer import codebook_health


class CodebookWatch:
    """Reconstruction error, entry counts and association hits, summed over ranks.

    Args:
        domains: Names of the dictionaries, of "hq" and "lq".
        entries: Codebook size.
    """

    def __init__(self, domains: list[str], entries: int) -> None:
        self.domains, self.entries = domains, entries
        self._reset()

    def _reset(self) -> None:
        self.counts = {d: torch.zeros(self.entries, dtype=torch.float64) for d in self.domains}
        # Sum of per-image PSNR, of distinct entries an image, number of images.
        self.sums = {d: torch.zeros(3, dtype=torch.float64) for d in self.domains}
        # Top-1 hits HQ to LQ, LQ to HQ, number of tokens.
        self.hits = torch.zeros(3, dtype=torch.float64)

    def add(self, domain: str, images: Tensor, passed: Reconstruction) -> None:
        """Adds one batch of images (B, 3, H, W) in [-1, 1] and what became of them."""
        indices = passed.quantized.indices.flatten(1).cpu()
        self.counts[domain] += torch.bincount(indices.flatten(), minlength=self.entries)
        error = (passed.image.clamp(-1, 1) - images).square().mean((1, 2, 3)) / 4
        distinct = sum(len(row.unique()) for row in indices)
        psnr = float((-10 * error.log10()).sum())
        self.sums[domain] += torch.tensor([psnr, distinct, len(images)], dtype=torch.float64)

    def add_association(self, hq: Tensor, lq: Tensor) -> None:
        """Adds top-1 hits between tokens (B, C, h, w): a position should find its own twin."""
        flat = [t.flatten(2).transpose(1, 2).flatten(0, 1) for t in (hq, lq)]
        normal = [torch.nn.functional.normalize(t, dim=-1) for t in flat]
        similarity = normal[0] @ normal[1].T
        target = torch.arange(len(similarity), device=similarity.device)
        forward = (similarity.argmax(1) == target).sum()
        backward = (similarity.argmax(0) == target).sum()
        self.hits += torch.tensor([float(forward), float(backward), float(len(target))])

    def compute(self, world_size: int = 1) -> dict[str, float]:
        """Returns the figures over all ranks and starts anew."""
        if world_size > 1:
            for tensor in (*self.counts.values(), *self.sums.values(), self.hits):
                dist.all_reduce(tensor)
        figures: dict[str, float] = {}
        for domain in self.domains:
            psnr, distinct, images = self.sums[domain].tolist()
            figures[f"{domain}/psnr"] = psnr / max(1.0, images)
            figures[f"{domain}/distinct_entries_per_image"] = distinct / max(1.0, images)
            health = codebook_health(self.counts[domain])
            figures |= {f"{domain}/{name}": value for name, value in health.items()}
        if self.hits[2] > 0:
            figures["association/top1_hq_to_lq"] = float(self.hits[0] / self.hits[2])
            figures["association/top1_lq_to_hq"] = float(self.hits[1] / self.hits[2])
        self._reset()
        return figures
