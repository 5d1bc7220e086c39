"""The one-step generator: encode, predict the noise once, decode."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from osdface.networks.base import DiffusionBase
from osdface.networks.latents import LatentCodec


@dataclass
class Restoration:
    """What one pass of :class:`OneStepGenerator` gives.

    Attributes:
        image: Restored image, (B, 3, H, W), about [-1, 1], not clamped (training needs it so).
        latent: Restored latent z_H^, (B, C, h, w).
        prompt: The prompt of the cross-attention, (B, tokens, prompt_dim).
        degraded_latent: z_L, (B, C, h, w).
    """

    image: Tensor
    latent: Tensor
    prompt: Tensor
    degraded_latent: Tensor


def predicted_original(latent: Tensor, noise: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Returns z_H^ = (z_L - sqrt(1 - a) * eps) / sqrt(a) (P), at least in float32.

    Args:
        latent: z_L, (B, C, h, w).
        noise: eps, the same shape.
        alpha_cumprod: a, scalar, or of each sample, (B,).
    """
    dtype = torch.promote_types(latent.dtype, torch.float32)
    a = alpha_cumprod.to(latent.device, dtype)
    a = a.view(-1, 1, 1, 1) if a.ndim else a
    return (latent.to(dtype) - (1 - a).sqrt() * noise.to(dtype)) / a.sqrt()


def diffuse(latent: Tensor, noise: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """Returns F(z, t) = sqrt(a_t) z + sqrt(1 - a_t) eps (P).

    Args:
        latent: z, (B, C, h, w).
        noise: Standard normal, the same shape.
        alpha_cumprod: a_t of each sample, (B,).
    """
    a = alpha_cumprod.to(latent.device, latent.dtype).view(-1, 1, 1, 1)
    return a.sqrt() * latent + (1 - a).sqrt() * noise


class OneStepGenerator(nn.Module):
    """Restores degraded faces in one step of a latent diffusion model (P).

    No noise is added: z_L goes in as if it were the noisy latent of ``timestep``.
    """

    def __init__(self, base: DiffusionBase, prompt_source: nn.Module, timestep: int = 399) -> None:
        super().__init__()
        self.unet: UNet2DConditionModel = base.unet
        self.codec: LatentCodec = base.codec.eval()
        if not self.codec.adapted:
            self.codec.requires_grad_(False)
        self.prompt_source = prompt_source
        self.timestep = timestep
        self.register_buffer("alphas_cumprod", base.alphas_cumprod, persistent=False)
        self.alphas_cumprod: Tensor

    def train(self, mode: bool = True) -> "OneStepGenerator":
        """Sets the training mode; the VAE stays in evaluation mode."""
        super().train(mode)
        self.codec.eval()
        return self

    def restore_latent(self, degraded_latent: Tensor, prompt: Tensor) -> Tensor:
        """Maps z_L (B, C, h, w) and its prompt to z_H^ (B, C, h, w)."""
        # A number would be copied from the host, which waits for the device at every call.
        timestep = torch.full((), self.timestep, device=degraded_latent.device)
        noise = self.unet(
            degraded_latent, timestep, encoder_hidden_states=prompt, return_dict=False
        )[0]
        return predicted_original(degraded_latent, noise, self.alphas_cumprod[self.timestep])

    def forward(
        self,
        degraded: Tensor,
        degraded_latent: Tensor | None = None,
        keys: Sequence[str] | None = None,
    ) -> Restoration:
        """Restores degraded images (B, 3, H, W) in [-1, 1].

        Args:
            degraded: LQ images.
            degraded_latent: z_L where it is known already (training encodes LQ and HQ at once).
            keys: Of the samples, for prompts that a file has for each image.
        """
        if degraded_latent is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.codec.adapted):
                degraded_latent = self.codec.encode(degraded)
        prompt = self.prompt_source(degraded, keys)
        latent = self.restore_latent(degraded_latent, prompt)
        return Restoration(self.codec.decode(latent), latent, prompt, degraded_latent)
