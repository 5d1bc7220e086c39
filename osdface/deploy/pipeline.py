"""The whole one-step pipeline as one module: what `Restorer` runs and what is exported.

It stands here and not in :mod:`osdface.networks.generator`, since it is no part of the method:
training needs latents and unclamped images, half precision and graphs concern the finished model.
"""

from typing import Any

import torch
from torch import Tensor, nn

from osdface.networks.generator import OneStepGenerator


class RestorationPipeline(nn.Module):
    """Degraded to restored faces; VRE and one-step formula in float32, UNet and VAE in ``dtype``.

    No host synchronisation and no float64, so it can be captured as a CUDA graph and runs on MPS.

    Args:
        generator: With merged LoRA; taken over, put into evaluation mode and to ``dtype``.
        dtype: Of UNet and VAE.
    """

    def __init__(self, generator: OneStepGenerator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        # The formula divides in float32; MPS knows no float64.
        generator.alphas_cumprod = generator.alphas_cumprod.float()
        self.generator = generator.requires_grad_(False).eval()
        self.dtype = dtype
        # As plain modules: diffusers' own .to() warns of a precision that none of these needs.
        for part in (generator.unet, generator.codec):
            nn.Module.to(part, dtype)

    def place(self, device: torch.device) -> "RestorationPipeline":
        """Moves all of it; on CUDA, half precision is laid out channels last.

        Tensor cores convolve channels last, float32 kernels without TF32 gain nothing from it.
        """
        self.to(device)
        if device.type == "cuda" and self.dtype in (torch.float16, torch.bfloat16):
            for part in (self.generator.unet, self.generator.codec):
                nn.Module.to(part, memory_format=torch.channels_last)
        return self

    def entries(self, images: Tensor, together: bool = True) -> Tensor | None:
        """Maps (B, 3, R, R) in [-1, 1] to the VRE's entries (B, 77, C).

        None where the prompt is the same for every image. Rounding depends on the batch, and at a
        near-tie of two entries the selection would jump: ``together=False`` takes the images one by
        one.
        """
        source: Any = self.generator.prompt_source
        if not hasattr(source, "entries"):
            return None
        if together:
            return source.entries(images)
        return torch.cat([source.entries(image[None]) for image in images])

    def image(self, images: Tensor, entries: Tensor | None) -> Tensor:
        """Maps (B, 3, R, R) and their entries to restored images in [-1, 1], float32."""
        generator: Any = self.generator
        source = generator.prompt_source
        prompt = source(images) if entries is None else source.from_entries(entries)
        latent = generator.codec.encode(images.to(self.dtype))
        latent = generator.restore_latent(latent, prompt.to(self.dtype))
        return generator.codec.decode(latent.to(self.dtype)).float().clamp(-1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, 3, R, R) float32 in [-1, 1] to restored images, the same."""
        return self.image(images, self.entries(images))
