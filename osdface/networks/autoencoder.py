"""The VQ autoencoder of stage 1, built from diffusers' blocks."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.vae import Decoder, Encoder
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.networks.quantizer import Quantized, VectorQuantizer


@dataclass(frozen=True)
class VQConfig:
    """Sizes of one VQ autoencoder; the defaults are the paper's (released code, R).

    The token grid has ``resolution / 2 ** (len(channels) - 1)`` positions a side: 16 at 512 px.
    """

    channels: tuple[int, ...] = (64, 128, 128, 128, 256, 512)
    layers_per_block: int = 2
    entries: int = 1024
    embedding_dim: int = 512
    norm_groups: int = 32

    def __post_init__(self) -> None:
        sizes = (self.layers_per_block, self.entries, self.embedding_dim, self.norm_groups)
        if not self.channels or min(*self.channels, *sizes) < 1:
            raise UserError(f"Sizes of a dictionary are whole numbers above 0, not {self}.")
        if odd := [width for width in self.channels if width % self.norm_groups]:
            raise UserError(
                f"{odd[0]} channels of a dictionary do not divide into {self.norm_groups} groups: "
                "scale.vre.channels are multiples of scale.vre.norm_groups."
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VQConfig":
        """Builds the config from plain values such as a JSON object."""
        return cls(**{**values, "channels": tuple(values["channels"])})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**asdict(self), "channels": list(self.channels)}


def build_encoder(config: VQConfig) -> Encoder:
    """Builds the taming-style encoder: (B, 3, H, W) in [-1, 1] to (B, channels[-1], h, w)."""
    levels = len(config.channels)
    return Encoder(
        in_channels=3,
        out_channels=config.channels[-1],
        down_block_types=("DownEncoderBlock2D",) * (levels - 1) + ("AttnDownEncoderBlock2D",),
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        double_z=False,
    )


def build_decoder(config: VQConfig) -> Decoder:
    """Builds the mirrored decoder: (B, channels[-1], h, w) to (B, 3, H, W)."""
    levels = len(config.channels)
    return Decoder(
        in_channels=config.channels[-1],
        out_channels=3,
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * (levels - 1),
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
    )


@dataclass
class Reconstruction:
    """What one pass of :class:`VQAutoencoder` gives.

    Attributes:
        image: Reconstruction, (B, 3, H, W), about [-1, 1], not clamped.
        tokens: z after ``quant_conv``, (B, C, h, w); what the association compares.
        quantized: The quantizer's output.
    """

    image: Tensor
    tokens: Tensor
    quantized: Quantized


class VQAutoencoder(nn.Module):
    """Encoder, codebook and decoder of one dictionary (HQ or LQ), self-reconstruction (D)."""

    def __init__(self, config: VQConfig | None = None) -> None:
        super().__init__()
        self.config = config or VQConfig()
        width, dim = self.config.channels[-1], self.config.embedding_dim
        self.encoder = build_encoder(self.config)
        self.quant_conv = nn.Conv2d(width, dim, 1)
        self.quantizer = VectorQuantizer(self.config.entries, dim)
        self.post_quant_conv = nn.Conv2d(dim, width, 1)
        self.decoder = build_decoder(self.config)

    def tokens(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) in [-1, 1] to continuous tokens (B, C, h, w)."""
        return self.quant_conv(self.encoder(images))

    def decode(self, quantized: Tensor) -> Tensor:
        """Maps quantized tokens (B, C, h, w) to images (B, 3, H, W)."""
        return self.decoder(self.post_quant_conv(quantized))

    @property
    def last_layer(self) -> nn.Parameter:
        """The decoder's last convolution weight, where the adaptive GAN weight is measured."""
        return self.decoder.conv_out.weight

    def forward(self, images: Tensor) -> Reconstruction:
        """Reconstructs images (B, 3, H, W) in [-1, 1] through the dictionary."""
        tokens = self.tokens(images)
        quantized = self.quantizer(tokens)
        return Reconstruction(self.decode(quantized.straight_through), tokens, quantized)

    def embedder_state(self) -> dict[str, torch.Tensor]:
        """Returns the state of the side that the VRE keeps: encoder, quant_conv and codebook."""
        kept = ("encoder.", "quant_conv.", "quantizer.codebook")
        return {key: value for key, value in self.state_dict().items() if key.startswith(kept)}
