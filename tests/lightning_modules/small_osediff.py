"""OSEDiff's stage 2 in a few thousand parameters: LoRA on the encoder, conv_in, a regulariser."""

from typing import Any

import torch

from lightning_modules.critics import Critic, LatentAdversary, ScoreDistillation
from lightning_modules.distillation import OneStepDistillationModule
from lightning_modules.stepped import StepSettings
from osdface.losses import WeightedLosses
from osdface.metrics import RestorationMetrics
from osdface.networks.adaptation import Adaptation, adapt, encoder_targets
from osdface.networks.base import build_base
from osdface.networks.discriminators import build_latent_discriminator
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import DEFAULT_TARGETS
from osdface.networks.prompts import FixedPrompt
from osdface.networks.regulariser import ScoreRegulariser
from tests.osdface.conftest import UNET, VAE


def build_osediff(
    gan: float = 0.0, vsd: float = 1.0, steps: int = 2, **settings: Any
) -> OneStepDistillationModule:
    """A module whose LoRA is not zero, so that every gradient flows from the first step on."""
    base = build_base(UNET, VAE)
    critics: list[Critic] = []
    if gan:
        network = build_latent_discriminator("unet", base.unet, 4, 4, 16)
        critics.append(LatentAdversary(network, gan, 1e-2))
    if vsd:
        regulariser = ScoreRegulariser(base.unet, torch.randn(5, 12), 4, 8)
        critics.append(ScoreDistillation(regulariser, vsd, 1e-2))
    of_vae = {"rank": 2, "alpha": 4, "targets": encoder_targets(base.codec, "all")}
    lora = {"rank": 4, "alpha": 8, "targets": list(DEFAULT_TARGETS)}
    adapt(base, Adaptation(lora, of_vae, ("unet.conv_in",)))
    module = OneStepDistillationModule(
        OneStepGenerator(base, FixedPrompt(torch.randn(5, 12)), 999),
        WeightedLosses({"mse": 1.0}),
        RestorationMetrics(None, None),
        StepSettings(steps, 1e-2, **settings),
        critics,
        sample_count=1,
    )
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return module
