"""One protocol for the VAEs that a base may bring: AutoencoderKL and AutoencoderTiny."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn


class LatentCodec(nn.Module):
    """Images to scaled latents and back; the scaling is read from the VAE's own config."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        self.vae = vae
        self.scaling_factor = float(vae.config.scaling_factor)
        self.shift_factor = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self.channels = int(vae.config.latent_channels)
        if isinstance(vae, AutoencoderTiny):
            self.downsampling = 2 ** (len(vae.config.encoder_block_out_channels) - 1)
        else:
            self.downsampling = 2 ** (len(vae.config.block_out_channels) - 1)

    def encode(
        self, images: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Maps images (B, 3, H, W) in [-1, 1] to scaled latents (B, C, h, w).

        Args:
            images: The images.
            sample: Whether the posterior is sampled (R) instead of its mode taken; an
                AutoencoderTiny has no posterior.
            generator: Source of the sample.
        """
        encoded = self.vae.encode(images)
        if isinstance(self.vae, AutoencoderTiny):
            latents = encoded.latents
        else:
            posterior = encoded.latent_dist
            latents = posterior.sample(generator) if sample else posterior.mode()
        return (latents - self.shift_factor) * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Maps scaled latents (B, C, h, w) to images (B, 3, H, W), about [-1, 1], not clamped."""
        return self.vae.decode(latents / self.scaling_factor + self.shift_factor).sample

    def roundtrip(self, images: Tensor) -> Tensor:
        """Returns decode(encode(images)), clamped to [-1, 1]."""
        return self.decode(self.encode(images)).clamp(-1, 1)
