"""The Visual Representation Embedder (VRE): an image becomes 77 dictionary entries."""

import torch
from torch import Tensor, nn

from osdface.networks.autoencoder import VQConfig, build_encoder
from osdface.networks.quantizer import squared_distances


def select_entries(tokens: Tensor, codebook: Tensor, count: int = 77) -> Tensor:
    """Selects the ``count`` distinct entries nearest to any token (released code, R).

    Entries are ordered by the smallest squared distance of any token to them; rows beyond the
    number of distinct entries are zero. No loop over tokens and no host synchronisation, so any
    batch size works.

    Args:
        tokens: (B, N, C).
        codebook: (K, C).
        count: Rows of the prompt; 77 in the paper.

    Returns:
        (B, count, C).
    """
    distance, nearest = squared_distances(tokens, codebook).min(-1)
    entries = len(codebook)
    best = torch.full(
        (len(tokens), entries), torch.inf, dtype=distance.dtype, device=distance.device
    ).scatter_reduce(1, nearest, distance, "amin")
    kept = min(count, entries)
    value, order = best.topk(kept, dim=1, largest=False, sorted=True)
    rows = codebook[order].masked_fill(value.isinf().unsqueeze(-1), 0)
    return nn.functional.pad(rows, (0, 0, 0, count - kept))


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

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) in [-1, 1] to selected entries (B, count, C)."""
        # Distances cancel in half precision, and a swapped near-tie changes the prompt.
        with torch.autocast(images.device.type, enabled=False):
            tokens = self.tokens(images)
            dtype = torch.promote_types(tokens.dtype, torch.float32)
            return select_entries(tokens.to(dtype), self.codebook.to(dtype), self.count)

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
    """The prompt source of OSDFace: frozen VRE, then the trained prompt convolutions."""

    def __init__(self, embedder: VisualRepresentationEmbedder, convs: PromptConvs) -> None:
        super().__init__()
        self.embedder = embedder.requires_grad_(False).eval()
        self.convs = convs

    def train(self, mode: bool = True) -> "VisualPrompt":
        """Sets the training mode; the frozen embedder stays in evaluation mode."""
        super().train(mode)
        self.embedder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Maps LQ images (B, 3, H, W) in [-1, 1] to the prompt (B, 77, prompt_dim)."""
        with torch.no_grad():
            entries = self.embedder(images)
        return self.convs(entries)
