"""Variants of the VRE prompt: other selections, attention, positions.

Each maps LQ images (B, 3, H, W) in [-1, 1] to a prompt (B, 77, prompt_dim) with a frozen embedder.
"""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.networks.embedder import VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.selection import (
    nearest_entries,
    position_code,
    select_with_duplicates,
    select_with_positions,
)


class DuplicatesPrompt(VisualPrompt):
    """Twice the rows, duplicates kept, its two halves side by side in place of convolutions (R).

    77 x (2 x 512) is SD 2.1's prompt width, so nothing is trained there. Where widths differ, as
    at tiny size, one trained linear map follows (ours, O).
    """

    kind: ClassVar[str] = "duplicates"

    def __init__(self, embedder: VisualRepresentationEmbedder, prompt_dim: int = 1024) -> None:
        width = 2 * embedder.config.embedding_dim
        same = width == prompt_dim
        super().__init__(embedder, nn.Identity() if same else nn.Linear(width, prompt_dim))

    def entries(self, images: Tensor) -> Tensor:
        """Maps LQ images (B, 3, H, W) to both halves (B, 77, 2 * C)."""
        select = partial(select_with_duplicates, count=2 * self.embedder.count)
        return torch.cat(self.embedder.selected(images, select).chunk(2, 1), -1)


class PooledPrompt(VisualPrompt):
    """77 learned queries attend over the nearest entries of all tokens (R), then convolutions.

    One layer of multi-head attention without residual or norm; heads and initial values are ours.
    """

    kind: ClassVar[str] = "attention_pooling"

    def __init__(
        self, embedder: VisualRepresentationEmbedder, convs: nn.Module, heads: int = 8
    ) -> None:
        super().__init__(embedder, convs)
        dim = embedder.config.embedding_dim
        if dim % heads:
            raise UserError(f"{heads} heads of attention do not divide {dim} channels.")
        self.queries = nn.Parameter(torch.randn(embedder.count, dim))
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def entries(self, images: Tensor) -> Tensor:
        """Maps LQ images (B, 3, H, W) to the nearest entry of every token (B, h * w, C)."""
        return self.embedder.selected(images, nearest_entries)

    def from_entries(self, entries: Tensor) -> Tensor:
        """Maps entries (B, h * w, C) to the prompt (B, 77, prompt_dim)."""
        queries = self.queries.expand(entries.shape[0], -1, -1)
        pooled, _ = self.attention(queries, entries, entries, need_weights=False)
        return self.convs(pooled)


class PositionedPrompt(VisualPrompt):
    """The distinct selection, each entry with the 2-D position where it was seen best (R)."""

    kind: ClassVar[str] = "position_code"

    def __init__(self, embedder: VisualRepresentationEmbedder, convs: nn.Module) -> None:
        super().__init__(embedder, convs)
        if embedder.config.embedding_dim % 4:
            raise UserError("A 2-D position code needs an embedding_dim that is a multiple of 4.")

    def entries(self, images: Tensor) -> Tensor:
        """Maps LQ images (B, 3, H, W) to entries with positions (B, 77, C); zero rows stay zero."""
        select = partial(select_with_positions, count=self.embedder.count)
        rows, position = self.embedder.selected(images, select)
        factor = 2 ** (len(self.embedder.config.channels) - 1)
        height, width = (size // factor for size in images.shape[2:])
        code = position_code(height, width, rows.shape[2], rows)[position.clamp_min(0)]
        return rows + code.masked_fill((position < 0).unsqueeze(-1), 0)
