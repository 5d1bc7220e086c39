"""Collects over a validation what tells whether a dictionary has converged."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from osdface.networks.autoencoder import Reconstruction
from osdface.networks.quantizer import codebook_health


def sum_over_ranks(sums: Sequence[Tensor], world_size: int, device: torch.device | str) -> None:
    """Adds the other ranks' sums in place; ``device``: the rank's own, as NCCL knows no CPU."""
    for tensor in sums if world_size > 1 else ():
        there = tensor.to(device)
        dist.all_reduce(there)
        tensor.copy_(there)


class CodebookWatch:
    """Reconstruction error, its baseline and entry counts, summed over ranks.

    Args:
        domains: Names of the dictionaries, of "hq" and "lq".
        entries: Codebook size.

    Attributes:
        last_counts: How often each entry was chosen in the last whole validation, domain -> (K,).
    """

    def __init__(self, domains: list[str], entries: int) -> None:
        self.domains, self.entries = domains, entries
        self.last_counts: dict[str, Tensor] = {}
        self._reset()

    def _reset(self) -> None:
        self.counts = {d: torch.zeros(self.entries, dtype=torch.float64) for d in self.domains}
        # Sum of per-image PSNR, of distinct entries an image, of mean squares, number of images.
        self.sums = {d: torch.zeros(4, dtype=torch.float64) for d in self.domains}
        # Sum of all images, (3, H, W), sized at the first batch.
        self.images: dict[str, Tensor] = {}

    def add(self, domain: str, images: Tensor, passed: Reconstruction) -> None:
        """Adds one batch of images (B, 3, H, W) in [-1, 1] and what became of them."""
        indices = passed.quantized.indices.flatten(1).cpu()
        self.counts[domain] += torch.bincount(indices.flatten(), minlength=self.entries)
        error = (passed.image.clamp(-1, 1) - images).square().mean((1, 2, 3)) / 4
        distinct = sum(len(row.unique()) for row in indices)
        psnr = float((-10 * error.log10()).sum())
        exact = images.detach().cpu().double()
        squares = float(exact.square().mean((1, 2, 3)).sum())
        found = [psnr, distinct, squares, len(images)]
        self.sums[domain] += torch.tensor(found, dtype=torch.float64)
        total = self.images.setdefault(domain, torch.zeros_like(exact[0]))
        total += exact.sum(0)

    def compute(self, world_size: int = 1, device: torch.device | str = "cpu") -> dict[str, float]:
        """Returns the figures over all ranks and starts anew."""
        sums = [*self.counts.values(), *self.sums.values(), *self.images.values()]
        sum_over_ranks(sums, world_size, device)
        figures: dict[str, float] = {}
        for domain in self.domains:
            psnr, distinct, squares, images = self.sums[domain].tolist()
            figures[f"{domain}/psnr"] = psnr / max(1.0, images)
            if images:
                mean = self.images[domain] / images
                figures[f"{domain}/psnr_mean_image"] = _mean_image_psnr(mean, squares / images)
            figures[f"{domain}/distinct_entries_per_image"] = distinct / max(1.0, images)
            health = codebook_health(self.counts[domain])
            figures |= {f"{domain}/{name}": value for name, value in health.items()}
        self.last_counts = self.counts
        self._reset()
        return figures


def _mean_image_psnr(mean: Tensor, mean_square: float) -> float:
    """PSNR in dB of answering every image with the mean image (ours, O).

    The error is pooled over images, E |x - m|^2 = E |x|^2 - |m|^2, which needs no second pass.
    The mean of the single images' PSNR, which is what ``psnr`` is, would be up to a few tenths
    of a dB higher.

    Args:
        mean: The mean image, (3, H, W), float64 in [-1, 1].
        mean_square: Mean over images and pixels of the squared values.
    """
    error = max(mean_square - float(mean.square().mean()), 0.0) / 4
    return float(-10 * torch.tensor(error, dtype=torch.float64).log10())
