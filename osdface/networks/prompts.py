"""Prompt sources: what the cross-attention sees, the VRE of the paper or one of its variants.

A source maps LQ images (B, 3, H, W) in [-1, 1], and the samples' keys where there are any, to a
prompt (B, rows, prompt_dim). ``kind`` names it, ``count`` is its number of rows; of the visual ones
the ``embedder`` is frozen.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from osdface.networks.captions import CaptionPrompt, Captions
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.visual_prompts import DuplicatesPrompt, PooledPrompt, PositionedPrompt

VISUAL_KINDS = ("distinct", "duplicates", "attention_pooling", "position_code")
TEXT_KINDS = ("text_prompt", "captions")
KINDS = (*VISUAL_KINDS, "learned_prompt", *TEXT_KINDS, "none")


class LearnedPrompt(nn.Module):
    """Trained rows of prompt width, the same for every image."""

    kind: ClassVar[str] = "learned_prompt"

    def __init__(self, prompt_dim: int = 1024, count: int = 77) -> None:
        super().__init__()
        self.count = count
        # As small as what fresh prompt convolutions give (ours, O).
        self.prompt = nn.Parameter(0.02 * torch.randn(count, prompt_dim))

    def forward(self, images: Tensor, keys: Sequence[str] | None = None) -> Tensor:
        """Maps LQ images (B, 3, H, W) to the prompt (B, count, prompt_dim)."""
        return self.prompt.expand(images.shape[0], -1, -1)


class FixedPrompt(nn.Module):
    """A frozen prompt (rows, prompt_dim), the same for every image: a text's, or none at all."""

    def __init__(self, prompt: Tensor, kind: str = "text_prompt") -> None:
        super().__init__()
        self.kind, self.count = kind, prompt.shape[0]
        self.register_buffer("prompt", prompt.detach().clone())
        self.prompt: Tensor

    def forward(self, images: Tensor, keys: Sequence[str] | None = None) -> Tensor:
        """Maps LQ images (B, 3, H, W) to the prompt (B, count, prompt_dim)."""
        return self.prompt.expand(images.shape[0], -1, -1)


def build_prompt_source(
    kind: str,
    prompt_dim: int,
    embedder: VisualRepresentationEmbedder | None = None,
    hidden_dim: int = 256,
    heads: int = 8,
    text: Tensor | None = None,
    count: int = 77,
    captions: Captions | None = None,
) -> nn.Module:
    """Builds a prompt source with fresh trainable parts.

    Args:
        kind: One of ``KINDS``.
        prompt_dim: Width of the base's cross-attention.
        embedder: The VRE; of ``VISUAL_KINDS`` only.
        hidden_dim: Between the two prompt convolutions.
        heads: Of ``attention_pooling``.
        text: Prompt (rows, prompt_dim) of ``text_prompt``, and of images without a caption.
        count: Rows of ``learned_prompt``.
        captions: Of ``captions``, one for each sample key.
    """
    if kind == "learned_prompt":
        return LearnedPrompt(prompt_dim, count)
    if kind == "none":
        # One row, since attention needs a key: softmax over it is 1, its value is zero.
        return FixedPrompt(torch.zeros(1, prompt_dim), kind)
    if kind == "text_prompt":
        assert text is not None
        return FixedPrompt(text, kind)
    if kind == "captions":
        assert text is not None
        return CaptionPrompt(text, captions)
    assert kind in VISUAL_KINDS and embedder is not None, kind
    if kind == "duplicates":
        return DuplicatesPrompt(embedder, prompt_dim)
    convs = PromptConvs(embedder.config.embedding_dim, hidden_dim, prompt_dim)
    if kind == "attention_pooling":
        return PooledPrompt(embedder, convs, heads)
    return (PositionedPrompt if kind == "position_code" else VisualPrompt)(embedder, convs)


def prompt_facts(source: Any, prompt_dim: int) -> dict[str, Any]:
    """Returns what :func:`build_prompt_source` must know to build such a source again."""
    embedder = getattr(source, "embedder", None)
    count = source.count if embedder is None else embedder.count
    facts = {"kind": source.kind, "count": count, "prompt_dim": prompt_dim}
    convs = getattr(source, "convs", None)
    if isinstance(convs, PromptConvs):
        facts["hidden_dim"] = convs.conv1.out_channels
    if isinstance(source, PooledPrompt):
        facts["heads"] = source.attention.num_heads
    return facts


def own_state(source: nn.Module) -> dict[str, Tensor]:
    """Returns the state of a source without its embedder's."""
    state = source.state_dict()
    return {key: value for key, value in state.items() if not key.startswith("embedder.")}
