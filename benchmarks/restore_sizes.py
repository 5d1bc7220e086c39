"""Restorers of every scale's sizes with random weights."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

import experiments
from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import build_base
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import add_lora

SIZES = ("tiny", "small", "sd21")


def build_generator(size: str) -> tuple[OneStepGenerator, int]:
    """Builds a generator without LoRA as ``experiments/conf/scale`` sizes it; and its resolution.

    Under ``torch.device("meta")`` it takes no memory.
    """
    path = Path(str(experiments.__path__[0])) / "conf" / "scale" / f"{size}.yaml"
    node = OmegaConf.load(path).scale
    scale: Any = {
        key: OmegaConf.to_container(node[key], resolve=False) for key in ("base", "vre", "stage2")
    }
    base = build_base(scale["base"]["unet"], scale["base"]["vae"])
    vre = scale["vre"]
    names = ("channels", "layers_per_block", "entries", "embedding_dim", "norm_groups")
    config = VQConfig.from_dict({name: vre[name] for name in names})
    embedder = VisualRepresentationEmbedder(config)
    convs = PromptConvs(config.embedding_dim, vre["prompt_hidden_dim"], base.prompt_dim)
    generator = OneStepGenerator(base, VisualPrompt(embedder, convs), scale["stage2"]["timestep"])
    return generator.requires_grad_(False).eval(), int(node.resolution)


def with_lora(generator: OneStepGenerator, rank: int = 16) -> None:
    """Adds LoRA that changes something; a fresh one has B = 0."""
    add_lora(generator.unet, rank=rank, alpha=rank)
    for name, parameter in generator.unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1e-3)
    generator.requires_grad_(False).eval()
