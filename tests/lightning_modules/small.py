"""A stage-2 module of a few thousand parameters, and batches of random pictures."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from lightning_modules.critics import Critic, LatentAdversary
from lightning_modules.distillation import OneStepDistillationModule
from lightning_modules.stepped import StepSettings
from osdface.losses import WeightedLosses
from osdface.metrics import RestorationMetrics
from osdface.networks.base import build_base
from osdface.networks.discriminators import build_latent_discriminator
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import add_lora
from tests.osdface.conftest import UNET, VAE, VQ


def build_module(
    gan: float = 0.0,
    steps: int = 3,
    weights: dict[str, float] | None = None,
    kind: str = "unet",
    **settings: Any,
) -> OneStepDistillationModule:
    base = build_base(UNET, VAE)
    critics: list[Critic] = []
    if gan:
        network = build_latent_discriminator(kind, base.unet, 4, 4, 16, filters=8, layers=1)
        critics = [LatentAdversary(network, gan, 1e-2)]
    embedder = VisualRepresentationEmbedder(VQ, 7)
    torch.nn.init.normal_(embedder.codebook)
    add_lora(base.unet, rank=4, alpha=4)
    generator = OneStepGenerator(base, VisualPrompt(embedder, PromptConvs(16, 8, 12)))
    return OneStepDistillationModule(
        generator,
        WeightedLosses(weights or {"mse": 1.0}),
        RestorationMetrics(None, None),
        StepSettings(steps, 1e-2, **settings),
        critics,
        sample_count=1,
    )


def make_batch(number: int, size: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    hq = torch.rand(size, 3, 16, 16, generator=generator) * 2 - 1
    lq = (hq + 0.3 * torch.randn(hq.shape, generator=generator)).clamp(-1, 1)
    return {"hq": hq, "lq": lq, "key": [f"{number}-{i}" for i in range(size)]}


class _Endless(torch.utils.data.IterableDataset):
    def __init__(self, offset: int, size: int) -> None:
        self.offset, self.size = offset, size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = self.offset
        while True:
            yield make_batch(number, self.size)
            number += 1


def loader(offset: int = 0, size: int = 2) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(_Endless(offset, size), batch_size=None)


def drive(module: OneStepDistillationModule) -> OneStepDistillationModule:
    """Lets ``training_step`` run without a Trainer."""
    optimizers = module.configure_optimizers()
    module.trainer = SimpleNamespace(optimizers=optimizers, datamodule=None, should_stop=False)
    module.optimizers = lambda: optimizers
    module.manual_backward = lambda loss: loss.backward()
    return module.train()


def step_alone(module: OneStepDistillationModule, batch: dict[str, Any]) -> Any:
    """Does one training step and returns the module."""
    drive(module).training_step(batch, 0)
    return module
