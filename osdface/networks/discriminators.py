"""Discriminators: the diffusion UNet's encoder on noised latents, and PatchGANs."""

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.networks.lora import DEFAULT_TARGETS, add_lora

# Kind of a UNet discriminator -> whether it sees (the prompt, the noise level).
_UNET_KINDS = {
    "unet": (True, True),
    "unet_prompt": (True, False),
    "unet_noise_level": (False, True),
    "unet_unconditioned": (False, False),
}
DISCRIMINATORS = (*_UNET_KINDS, "patch")


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

    Args:
        unet: The base's UNet.
        rank: Of the LoRA.
        alpha: Of the LoRA.
        head_width: Channels of the head.
        targets: Layers with LoRA.
        conditioned: Whether it sees the prompt (P); else zeros.
        sees_noise_level: Whether it sees t (P); else t = 0 always. The latents are noised as ever.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        rank: int = 16,
        alpha: float = 16,
        head_width: int = 256,
        targets: tuple[str, ...] = DEFAULT_TARGETS,
        conditioned: bool = True,
        sees_noise_level: bool = True,
    ) -> None:
        super().__init__()
        encoder = UNetEncoder(unet)
        names = {name.rsplit(".", 1)[-1] for name, _ in encoder.named_modules()}
        present = [t for t in targets if t.rsplit(".", 1)[-1] in names]
        self.encoder = add_lora(encoder, rank, alpha, present)
        self.conditioned, self.sees_noise_level = conditioned, sees_noise_level
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
        timestep = timestep if self.sees_noise_level else torch.zeros_like(timestep)
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


class LatentPatchDiscriminator(PatchDiscriminator):
    """A plain PatchGAN on noised latents, trained from nothing; it sees neither prompt nor t."""

    def forward(self, latent: Tensor, timestep: Tensor, prompt: Tensor) -> Tensor:  # type: ignore[override]
        """Maps noised latents (B, C, h, w) to logits (B, 1, h', w'); the rest is not looked at."""
        layers = (len(self.blocks) - 3) // 3
        if min(latent.shape[-2:]) < 3 * 2**layers:
            raise UserError(
                f"A PatchGAN of {layers} layers needs latents of {3 * 2**layers} a side, not "
                f"{min(latent.shape[-2:])}: lower scale.stage2.discriminator_layers."
            )
        return super().forward(latent)


def build_latent_discriminator(
    kind: str,
    unet: UNet2DConditionModel,
    rank: int = 16,
    alpha: float = 16,
    head_width: int = 256,
    filters: int = 64,
    layers: int = 3,
) -> nn.Module:
    """Builds a discriminator of stage 2: (noised latents, t, prompt) -> logits (B, 1, h', w').

    Args:
        kind: One of ``DISCRIMINATORS``. ``unet`` sees prompt and noise level (P: arrow in the
            figure), ``unet_prompt`` and ``unet_noise_level`` one of them, ``unet_unconditioned``
            neither; ``patch`` is a PatchGAN on latents.
        unet: The base's UNet, before the generator's LoRA is added.
        rank: LoRA rank of the UNet discriminators.
        alpha: LoRA alpha of the UNet discriminators.
        head_width: Channels of their head.
        filters: Of the PatchGAN, a multiple of 8.
        layers: Of the PatchGAN; it needs latents of at least ``3 * 2**layers`` a side.

    Raises:
        UserError: The kind is unknown, or the head's or the PatchGAN's channels do not fit.
    """
    if kind in _UNET_KINDS:
        if head_width < 4 or head_width % min(32, head_width // 4):
            raise UserError(
                f"The head of a discriminator has 4, 8, ... 128 channels, or a multiple of 32, not "
                f"{head_width}: see scale.stage2.discriminator_head."
            )
        prompt, noise_level = _UNET_KINDS[kind]
        return LatentDiscriminator(
            unet,
            rank,
            alpha,
            head_width,
            conditioned=prompt,
            sees_noise_level=noise_level,
        )
    if kind != "patch":
        raise UserError(f"There is no discriminator {kind!r}: one of {', '.join(DISCRIMINATORS)}.")
    if filters % 8:
        raise UserError(f"A PatchGAN's filters are a multiple of 8, not {filters}.")
    return LatentPatchDiscriminator(int(unet.config.in_channels), filters, layers)
