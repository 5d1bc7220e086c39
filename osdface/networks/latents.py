"""One protocol for the VAEs that a base may bring: AutoencoderKL and AutoencoderTiny."""

from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn


class LatentCodec(nn.Module):
    """Images to scaled latents and back; the scaling is read from the VAE's own config.

    Attributes:
        adapted: Whether the encoder has a LoRA that is trained; all else is frozen.
    """

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        self.vae = vae
        self.adapted = False
        self.scaling_factor = float(vae.config.scaling_factor)
        self.shift_factor = float(getattr(vae.config, "shift_factor", None) or 0.0)
        self.channels = int(vae.config.latent_channels)
        if isinstance(vae, AutoencoderTiny):
            self.downsampling = 2 ** (len(vae.config.encoder_block_out_channels) - 1)
        else:
            self.downsampling = 2 ** (len(vae.config.block_out_channels) - 1)

    def latent_shape(self, images: Tensor) -> tuple[int, int, int]:
        """Returns (C, h, w) of one image's latents for images (B, 3, H, W)."""
        height, width = (-(-side // self.downsampling) for side in images.shape[-2:])
        return self.channels, height, width

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Maps images (B, 3, H, W) in [-1, 1] to scaled latents (B, C, h, w).

        Args:
            images: The images.
            noise: Standard normal (B, C, h, w): the posterior is sampled with it, as the released
                code does (R). None takes the mode. An AutoencoderTiny has no posterior.
        """
        encoded = self.vae.encode(images)
        if isinstance(self.vae, AutoencoderTiny):
            latents = encoded.latents
        elif noise is None:
            latents = encoded.latent_dist.mode()
        else:
            posterior = encoded.latent_dist
            latents = posterior.mean + posterior.std * noise
        return (latents - self.shift_factor) * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Maps scaled latents (B, C, h, w) to images (B, 3, H, W), about [-1, 1], not clamped."""
        return self.vae.decode(latents / self.scaling_factor + self.shift_factor).sample

    def roundtrip(self, images: Tensor) -> Tensor:
        """Returns decode(encode(images)), clamped to [-1, 1]."""
        return self.decode(self.encode(images)).clamp(-1, 1)
