"""The Visual Representation Embedder (VRE): an image becomes 77 dictionary entries."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from osdface.devices import without_autocast
from osdface.networks.autoencoder import VQConfig, build_encoder
from osdface.networks.selection import select_entries

T = TypeVar("T")


class VisualRepresentationEmbedder(nn.Module):
    """Encoder, quant_conv and LQ codebook; frozen in stage 2 (P).

    Args:
        config: Sizes.
        count: Selected entries; 77 (P).
        input_range: What the encoder wants [-1, 1] to become; the released weights (-3, 1) (R).
    """

    def __init__(
        self, config: VQConfig, count: int = 77, input_range: tuple[float, float] = (-1.0, 1.0)
    ) -> None:
        super().__init__()
        self.config, self.count, self.input_range = config, count, input_range
        self.encoder = build_encoder(config)
        self.quant_conv = nn.Conv2d(config.channels[-1], config.embedding_dim, 1)
        bound = 1.0 / config.entries
        entries = torch.empty(config.entries, config.embedding_dim).uniform_(-bound, bound)
        self.codebook = nn.Parameter(entries)

    def tokens(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) in [-1, 1] to tokens (B, h * w, C)."""
        low, high = self.input_range
        if (low, high) != (-1.0, 1.0):
            images = low + (high - low) / 2 * (images + 1)
        return self.quant_conv(self.encoder(images)).flatten(2).transpose(1, 2)

    def selected(self, images: Tensor, select: Callable[[Tensor, Tensor], T]) -> T:
        """Returns ``select(tokens, codebook)`` of images (B, 3, H, W), at least in float32."""
        # Distances cancel in half precision, and a swapped near-tie changes the prompt.
        with without_autocast(images.device):
            tokens = self.tokens(images)
            dtype = torch.promote_types(tokens.dtype, torch.float32)
            return select(tokens.to(dtype), self.codebook.to(dtype))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) in [-1, 1] to selected entries (B, count, C)."""
        return self.selected(images, partial(select_entries, count=self.count))

    @classmethod
    def from_autoencoder_state(
        cls, config: VQConfig, state: dict[str, Tensor], count: int = 77
    ) -> "VisualRepresentationEmbedder":
        """Builds the embedder from :meth:`VQAutoencoder.embedder_state`."""
        embedder = cls(config, count)
        embedder.load_state_dict({key.removeprefix("quantizer."): v for key, v in state.items()})
        return embedder


class PromptConvs(nn.Module):
    """The two trained 1x1 convolutions after the VRE, each followed by SiLU (R).

    512 -> 256 -> 1024 in the paper; a zero row becomes a constant, not zero.
    """

    def __init__(self, embedding_dim: int = 512, hidden_dim: int = 256, prompt_dim: int = 1024):
        super().__init__()
        self.conv1 = nn.Conv1d(embedding_dim, hidden_dim, 1)
        self.conv2 = nn.Conv1d(hidden_dim, prompt_dim, 1)

    def forward(self, entries: Tensor) -> Tensor:
        """Maps entries (B, 77, embedding_dim) to the prompt (B, 77, prompt_dim)."""
        hidden = nn.functional.silu(self.conv1(entries.transpose(1, 2)))
        return nn.functional.silu(self.conv2(hidden)).transpose(1, 2)


class VisualPrompt(nn.Module):
    """The prompt source of OSDFace: frozen VRE, then the trained prompt convolutions.

    Its variants stand in :mod:`osdface.networks.visual_prompts`; ``convs`` is whatever maps the
    entries (B, rows, C) to the prompt (B, rows, prompt_dim).
    """

    kind: ClassVar[str] = "distinct"

    def __init__(self, embedder: VisualRepresentationEmbedder, convs: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder.requires_grad_(False).eval()
        self.convs = convs

    def train(self, mode: bool = True) -> "VisualPrompt":
        """Sets the training mode; the frozen embedder stays in evaluation mode."""
        super().train(mode)
        self.embedder.eval()
        return self

    def entries(self, images: Tensor) -> Tensor:
        """Maps LQ images (B, 3, H, W) to what the convolutions see (B, 77, C)."""
        return self.embedder(images)

    def forward(self, images: Tensor, keys: Sequence[str] | None = None) -> Tensor:
        """Maps LQ images (B, 3, H, W) in [-1, 1] to the prompt (B, 77, prompt_dim)."""
        with torch.no_grad():
            entries = self.entries(images)
        return self.from_entries(entries)

    def from_entries(self, entries: Tensor) -> Tensor:
        """Maps what :meth:`entries` returned to the prompt (B, 77, prompt_dim)."""
        return self.convs(entries)
