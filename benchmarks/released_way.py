"""A plain re-statement of how the released inference restores a face, to measure against.

Our own words for the facts that are known of it (R): one image at a time; the VRE's entries chosen
token by token, with a synchronisation of the host each; the VAE's posterior sampled; the one-step
formula in float64 with a schedule that lies on the host; LoRA merged, or left beside the weights.
Networks and weights are those it is compared with, in one precision throughout.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.embedder import looped_selection
from osdface.networks.generator import OneStepGenerator


class ReleasedWay:
    """Restores one uint8 image (R, R, 3) after the other.

    Args:
        generator: On ``device``; it is used as it is, merged or not.
        device: Where it runs.
        dtype: Of all networks.
        sample: Whether the posterior is sampled; the mode lets both ways be compared.
    """

    def __init__(
        self,
        generator: OneStepGenerator,
        device: torch.device,
        dtype: torch.dtype,
        sample: bool = True,
    ) -> None:
        self.generator: Any = generator
        self.device, self.dtype, self.sample = device, dtype, sample
        self.alphas_cumprod = generator.alphas_cumprod.double().cpu()

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns the restored image, uint8 (R, R, 3)."""
        generator = self.generator
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        pixels = pixels.to(self.device, self.dtype)
        prompt = generator.prompt_source.from_entries(self._entries(pixels))
        codec = generator.codec
        posterior = codec.vae.encode(pixels).latent_dist
        latent = posterior.sample() if self.sample else posterior.mode()
        latent = latent * codec.scaling_factor
        noise = generator.unet(latent, generator.timestep, encoder_hidden_states=prompt).sample
        a = self.alphas_cumprod[generator.timestep].to(self.device)
        clean = (latent.double() - (1 - a).sqrt() * noise.double()) / a.sqrt()
        restored = codec.vae.decode(clean.to(self.dtype) / codec.scaling_factor).sample
        restored = (restored.float().clamp(-1, 1) + 1) * 127.5
        return restored[0].round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def _entries(self, pixels: Tensor) -> Tensor:
        embedder = self.generator.prompt_source.embedder
        return looped_selection(embedder.tokens(pixels), embedder.codebook, embedder.count)
