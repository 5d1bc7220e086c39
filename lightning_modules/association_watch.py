"""Collects over a validation how well LQ tokens find their HQ twins."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.codebook_watch import sum_over_ranks


class AssociationWatch:
    """Top-1 hits, the diagonal share and the mean similarity matrix, summed over ranks.

    Attributes:
        similarity: Mean cosine of HQ token i and LQ token j of the same image over the last whole
            validation, (N, N), float64 in [-1, 1]; N: token positions of an image.
    """

    def __init__(self) -> None:
        self.similarity: Tensor | None = None
        self._reset()

    def _reset(self) -> None:
        # Top-1 hits HQ to LQ, LQ to HQ, sum of diagonal probabilities, number of tokens.
        self.sums = torch.zeros(4, dtype=torch.float64)
        self.cosines: Tensor | None = None
        self.images = torch.zeros(1, dtype=torch.float64)

    @torch.no_grad()
    def add(self, hq: Tensor, lq: Tensor, scale: Tensor | float) -> None:
        """Adds the tokens (B, C, h, w) of one batch of pairs.

        ``scale``: the factor exp(s) of the logits, the inverse of the temperature.
        """
        with torch.autocast(hq.device.type, enabled=False):
            hq, lq = (F.normalize(t.float().flatten(2).transpose(1, 2), dim=-1) for t in (hq, lq))
            everywhere = hq.flatten(0, 1) @ lq.flatten(0, 1).T
            truth = torch.arange(len(everywhere), device=hq.device)
            hits = [(everywhere.argmax(axis) == truth).sum() for axis in (1, 0)]
            cosines = hq @ lq.transpose(1, 2)
            logits = scale * cosines
            rows, columns = (logits.softmax(axis).diagonal(dim1=1, dim2=2) for axis in (2, 1))
        share = float((rows + columns).double().sum() / 2)
        found = [float(hits[0]), float(hits[1]), share, len(truth)]
        self.sums += torch.tensor(found, dtype=torch.float64)
        total = cosines.double().sum(0).cpu()
        self.cosines = total if self.cosines is None else self.cosines + total
        self.images += len(hq)

    def compute(self, world_size: int = 1, device: torch.device | str = "cpu") -> dict[str, float]:
        """Returns the figures over all ranks and starts anew.

        ``top1_*``: share of tokens whose nearest of the other kind, among all tokens of their
        batch on this rank, is their own (D). ``diagonal_share`` (ours, O): probability that the
        softmax over the N places of the same image, at the learned temperature, gives a token's
        own place; mean over both directions, tokens and images; 1 / N by chance.
        ``diagonal_contrast`` (ours, O): mean cosine on the diagonal less that off it.
        """
        if self.cosines is None:
            return {}
        sum_over_ranks([self.sums, self.cosines, self.images], world_size, device)
        forward, backward, share, tokens = self.sums.tolist()
        self.similarity = self.cosines / self.images
        places = len(self.similarity)
        diagonal = float(self.similarity.diagonal().mean())
        others = (float(self.similarity.sum()) - places * diagonal) / max(1, places**2 - places)
        self._reset()
        return {
            "association/top1_hq_to_lq": forward / tokens,
            "association/top1_lq_to_hq": backward / tokens,
            "association/diagonal_share": share / tokens,
            "association/diagonal_contrast": diagonal - others,
        }
