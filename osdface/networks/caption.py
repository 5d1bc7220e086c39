"""The tiny base's stand-in for a text encoder: attribute words become prompt tokens."""

import torch
from torch import Tensor, nn


class CaptionEmbedding(nn.Module):
    """One learned token per attribute value, and one null token per attribute.

    It plays the part of CLIP's text encoder for a base that is trained on labelled portraits.
    """

    def __init__(self, classes: list[int], prompt_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sum(classes) + len(classes), prompt_dim)
        # Each attribute owns a range of rows; its first row means "not said".
        starts = torch.tensor([0, *(n + 1 for n in classes)])[:-1].cumsum(0)
        self.register_buffer("starts", starts)
        self.starts: Tensor

    def forward(self, attributes: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Maps attributes (B, A) int64 to a prompt (B, A, prompt_dim).

        Args:
            attributes: Class of each attribute, -1 where unknown.
            dropped: (B,) bool, images whose caption is left out.
        """
        words = attributes + 1
        if dropped is not None:
            words = words.masked_fill(dropped.unsqueeze(1), 0)
        return self.embedding(words + self.starts)


def null_caption(state: dict[str, Tensor]) -> Tensor:
    """Returns the prompt of a caption that says nothing, (A, prompt_dim), from a saved state."""
    return state["embedding.weight"][state["starts"]]
