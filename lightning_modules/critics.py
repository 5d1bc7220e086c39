"""Networks beside the generator: each gives its loss a term and has an update of its own.

A critic is one of two: :class:`LatentAdversary` (OSDFace's GAN) and :class:`ScoreDistillation`
(OSEDiff's VSD). Both see the restored latents of the step at hand, noised by draws that depend on
(seed, step, sample key) alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_modules.stepped import keyed_generator
from osdface.losses.adversarial import Hinge, NonSaturating
from osdface.losses.score_distillation import (
    denoising_loss,
    distillation_direction,
    score_distillation,
)
from osdface.networks.generator import Restoration, diffuse, predicted_original
from osdface.networks.regulariser import ScoreRegulariser

GAN_LOSSES = {"non_saturating": NonSaturating, "hinge": Hinge}


@dataclass(frozen=True)
class Draws:
    """Where a step's noise comes from: no batch size, rank or resume changes it.

    Attributes:
        seed: Of the run.
        step: Generator step.
        keys: Of the samples.
    """

    seed: int
    step: int
    keys: Sequence[str]

    def noise(
        self, latent: Tensor, first: int, last: int, stream: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Returns t (B,), first <= t < last, and standard normal noise like ``latent``.

        Args:
            latent: (B, C, h, w).
            first: Smallest t.
            last: One more than the largest.
            stream: Another name draws others.
        """
        timesteps, noises = [], []
        for key in self.keys:
            source = keyed_generator(self.seed, self.step, key + stream)
            timesteps.append(torch.randint(first, last, (1,), generator=source))
            noises.append(torch.randn(latent.shape[1:], generator=source))
        return torch.cat(timesteps).to(latent.device), torch.stack(noises).to(latent)


class Critic:
    """What both have in common.

    Attributes:
        term: Name of its term of the generator's loss.
        updates: Name of its network, in logs and checkpoints.
        needs_target: Whether it sees latents of HQ images.
        network: What it trains.
        weight: Of its term.
        learning_rate: Of its own optimizer.
    """

    term: ClassVar[str]
    updates: ClassVar[str]
    needs_target: ClassVar[bool] = False

    def __init__(self, network: nn.Module, weight: float, learning_rate: float) -> None:
        self.network, self.weight, self.learning_rate = network, weight, learning_rate

    def look(self, restored: Restoration, target: Tensor, alphas: Tensor, draws: Draws) -> Any:
        """Returns what both its losses are made of.

        Args:
            restored: Of the generator, in its graph.
            target: Latents of the HQ images, (B, C, h, w); anything where they are not needed.
            alphas: alphas_cumprod, (T,).
            draws: The step's noise.
        """
        raise NotImplementedError

    def generator_term(self, seen: Any) -> Tensor:
        """Returns the raw term of the generator's loss, a scalar."""
        raise NotImplementedError

    def own_loss(self, seen: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of its network, which no gradient leaves, and scalars to be logged."""
        raise NotImplementedError


@dataclass
class Noised:
    """Noised latents that both updates share, (B, C, h, w), with t (B,) and the prompt."""

    fake: Tensor
    real: Tensor
    timestep: Tensor
    prompt: Tensor


class LatentAdversary(Critic):
    """A discriminator of noised latents F(z, t) (P)."""

    term, updates, needs_target = "gan", "discriminator", True

    def __init__(
        self,
        network: nn.Module,
        weight: float,
        learning_rate: float = 1e-4,
        kind: str = "non_saturating",
    ) -> None:
        """``kind``: "non_saturating" (P, 2) or "hinge"; the rest is :class:`Critic`'s."""
        super().__init__(network, weight, learning_rate)
        self.adversarial = GAN_LOSSES[kind]()

    def look(self, restored: Restoration, target: Tensor, alphas: Tensor, draws: Draws) -> Noised:
        """Noises both kinds of latents alike, at any t."""
        timestep, noise = draws.noise(target, 0, len(alphas))
        alpha = alphas[timestep]
        # The prompt is an input of the discriminator, not a way for its gradient (ours, O).
        return Noised(
            fake=diffuse(restored.latent, noise, alpha),
            real=diffuse(target, noise, alpha),
            timestep=timestep,
            prompt=restored.prompt.detach(),
        )

    def generator_term(self, seen: Noised) -> Tensor:
        """Returns L_G."""
        return self.adversarial.generator(self.network(seen.fake, seen.timestep, seen.prompt))

    def own_loss(self, seen: Noised) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns L_D, and how often the discriminator is right."""
        both = torch.cat([seen.real, seen.fake.detach()])
        logits = self.network(both, seen.timestep.repeat(2), seen.prompt.repeat(2, 1, 1))
        real, fake = logits.chunk(2)
        loss = self.adversarial.discriminator(real, fake)
        accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        return loss, {"discriminator/accuracy": accuracy}


@dataclass
class Distilled:
    """What a step of score distillation sees: latent (B, C, h, w), its prompt, alphas, draws."""

    latent: Tensor
    prompt: Tensor
    alphas: Tensor
    draws: Draws


class ScoreDistillation(Critic):
    """Variational score distillation: the frozen UNet against one that knows the generator (R)."""

    term, updates = "vsd", "regulariser"

    def __init__(
        self,
        network: ScoreRegulariser,
        weight: float,
        learning_rate: float = 5e-5,
        guidance: float = 7.5,
        timesteps: tuple[int, int] = (20, 980),
        regulariser_weight: float = 1.0,
    ) -> None:
        """All defaults are R.

        Args:
            network: The regulariser.
            weight: Of the distillation.
            learning_rate: Of the regulariser.
            guidance: Scale of the frozen UNet's guidance.
            timesteps: t of the distillation: first, and one more than the last.
            regulariser_weight: Of the regulariser's own loss.
        """
        super().__init__(network, weight, learning_rate)
        self.guidance, self.timesteps = guidance, timesteps
        self.regulariser_weight = regulariser_weight

    def look(
        self, restored: Restoration, target: Tensor, alphas: Tensor, draws: Draws
    ) -> Distilled:
        """Takes the restored latents; the draws of both losses are others (R)."""
        return Distilled(restored.latent, restored.prompt.detach(), alphas, draws)

    def generator_term(self, seen: Distilled) -> Tensor:
        """Returns the distillation loss; only its gradient means anything."""
        network: Any = self.network
        with torch.no_grad():
            timestep, noise = seen.draws.noise(seen.latent, *self.timesteps, "/vsd")
            alpha = seen.alphas[timestep]
            noised = diffuse(seen.latent, noise, alpha)
            learned = network(noised, timestep, seen.prompt)
            frozen = network.frozen(noised, timestep, seen.prompt, self.guidance)
            direction = distillation_direction(
                seen.latent,
                predicted_original(noised, learned, alpha),
                predicted_original(noised, frozen, alpha),
            )
        return score_distillation(seen.latent, direction)

    def own_loss(self, seen: Distilled) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the diffusion loss on the generator's latents, at any t."""
        latent = seen.latent.detach()
        timestep, noise = seen.draws.noise(latent, 0, len(seen.alphas), "/regulariser")
        noised = diffuse(latent, noise, seen.alphas[timestep])
        predicted = self.network(noised, timestep, seen.prompt)
        return self.regulariser_weight * denoising_loss(predicted, noise), {}
