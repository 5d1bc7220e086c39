"""Discriminators: the diffusion UNet's encoder on noised latents, and PatchGANs."""

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from osdface.networks.lora import DEFAULT_TARGETS, add_lora


class UNetEncoder(nn.Module):
    """Down and middle blocks of a UNet with a LoRA of their own over the shared frozen weights.

    The modules are copies but the base's parameters are the same tensors, so a discriminator
    beside an 866 M generator costs only its LoRA and head.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        # Parameters in the memo are shared by reference instead of being copied.
        memo = {id(parameter): parameter for parameter in unet.parameters()}

        def shared(part: str) -> Any:
            return copy.deepcopy(getattr(unet, part), memo)

        self.time_proj: nn.Module = shared("time_proj")
        self.time_embedding: nn.Module = shared("time_embedding")
        self.conv_in: nn.Module = shared("conv_in")
        self.down_blocks: nn.ModuleList = shared("down_blocks")
        self.mid_block: nn.Module = shared("mid_block")
        self.width = int(unet.config.block_out_channels[-1])

    def forward(self, latent: Tensor, timestep: Tensor, prompt: Tensor) -> Tensor:
        """Maps noised latents (B, C, h, w), t (B,) and a prompt to features (B, width, h', w')."""
        embedding = self.time_embedding(self.time_proj(timestep).to(latent.dtype))
        hidden = self.conv_in(latent)
        for block in self.down_blocks:
            if getattr(block, "has_cross_attention", False):
                hidden, _ = block(hidden, embedding, encoder_hidden_states=prompt)
            else:
                hidden, _ = block(hidden, embedding)
        return self.mid_block(hidden, embedding, encoder_hidden_states=prompt)


class LatentDiscriminator(nn.Module):
    """SD UNet encoder with LoRA and a small convolutional head (ours, O; no BatchNorm).

    Must be built before the generator's own LoRA is added to ``unet``.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        rank: int = 16,
        alpha: float = 16,
        head_width: int = 256,
        targets: tuple[str, ...] = DEFAULT_TARGETS,
        conditioned: bool = True,
    ) -> None:
        super().__init__()
        encoder = UNetEncoder(unet)
        names = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_modules()}
        present = [t for t in targets if t.rsplit(".", 1)[-1] in names]
        self.encoder = add_lora(encoder, rank, alpha, present)
        self.conditioned = conditioned
        groups = min(32, head_width // 4)
        self.head = nn.Sequential(
            nn.Conv2d(encoder.width, head_width, 3, padding=1),
            nn.GroupNorm(groups, head_width),
            nn.SiLU(),
            nn.Conv2d(head_width, 1, 1),
        )

    def forward(self, latent: Tensor, timestep: Tensor, prompt: Tensor) -> Tensor:
        """Returns logits (B, 1, h', w'): positive for "real".

        Args:
            latent: Noised latents F(z, t), (B, C, h, w).
            timestep: t of each sample, (B,) int64.
            prompt: The VRE prompt (B, 77, prompt_dim); zeros are used where unconditioned.
        """
        prompt = prompt if self.conditioned else torch.zeros_like(prompt)
        return self.head(self.encoder(latent, timestep, prompt))


class PatchDiscriminator(nn.Module):
    """PatchGAN of stage 1: 3 layers and 64 filters in the paper's recipe (D).

    Normalises by group (ours, O): batch statistics would make the loss depend on how a batch is
    split over GPUs. ``norm="batch"`` restores the original.
    """

    def __init__(
        self, in_channels: int = 3, filters: int = 64, layers: int = 3, norm: str = "group"
    ) -> None:
        super().__init__()

        def normalise(width: int) -> nn.Module:
            return nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(8, width)

        blocks: list[nn.Module] = [nn.Conv2d(in_channels, filters, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = filters
        for layer in range(1, layers + 1):
            wider = filters * min(2**layer, 8)
            stride = 2 if layer < layers else 1
            blocks += [
                nn.Conv2d(width, wider, 4, stride, 1, bias=False),
                normalise(wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(width, 1, 4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, in_channels, H, W) to logits (B, 1, h, w)."""
        return self.blocks(images)
