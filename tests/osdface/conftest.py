"""Small real networks: the classes of Stable Diffusion 2.1 with a few channels."""

import pytest
import torch

from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import DiffusionBase, build_base
from osdface.networks.discriminators import LatentDiscriminator
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import add_lora

UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
    "use_linear_projection": True,
}
VAE = {
    "sample_size": 16,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "norm_num_groups": 8,
}
VQ = VQConfig((8, 16), 1, 32, 16, 8)


@pytest.fixture
def tiny_base() -> DiffusionBase:
    torch.manual_seed(0)
    return build_base(UNET, VAE)


@pytest.fixture
def tiny_generator(tiny_base) -> OneStepGenerator:
    """A generator of 16 px images whose LoRA is not zero."""
    embedder = VisualRepresentationEmbedder(VQ, 7)
    torch.nn.init.normal_(embedder.codebook)
    add_lora(tiny_base.unet, rank=4, alpha=4)
    for name, parameter in tiny_base.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return OneStepGenerator(tiny_base, VisualPrompt(embedder, PromptConvs(16, 8, 12)))


@pytest.fixture
def tiny_pair(tiny_base) -> tuple[OneStepGenerator, LatentDiscriminator]:
    """A generator and a discriminator that share the base's frozen weights."""
    discriminator = LatentDiscriminator(tiny_base.unet, rank=4, alpha=4, head_width=16)
    embedder = VisualRepresentationEmbedder(VQ, 7)
    torch.nn.init.normal_(embedder.codebook)
    add_lora(tiny_base.unet, rank=4, alpha=4)
    prompt = VisualPrompt(embedder, PromptConvs(16, 8, 12))
    return OneStepGenerator(tiny_base, prompt), discriminator
