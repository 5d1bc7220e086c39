"""Stage 2: one-step LoRA distillation with a latent discriminator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.stepped import SteppedModule, StepSettings, adam, keyed_generator
from osdface.losses import WeightedLosses
from osdface.losses.adversarial import Hinge, NonSaturating
from osdface.losses.balance import latent_gradient_norms
from osdface.metrics import RestorationMetrics
from osdface.networks.efficiency import Efficiency
from osdface.networks.generator import OneStepGenerator, Restoration, diffuse

GAN_LOSSES = {"non_saturating": NonSaturating, "hinge": Hinge}


@dataclass(frozen=True)
class GANSettings:
    """The adversarial part of stage 2.

    Attributes:
        weight: lambda_G; 0 switches the discriminator off.
        learning_rate: Of the discriminator.
        kind: "non_saturating" (P, 2) or "hinge".
    """

    weight: float = 0.0
    learning_rate: float = 1e-4
    kind: str = "non_saturating"


class OneStepDistillationModule(SteppedModule):
    """Trains LoRA and prompt convolutions of a :class:`OneStepGenerator`.

    Total loss (P): MSE + lambda_per EA-DISTS + lambda_ID L_ID + lambda_G L_G; which terms act and
    how much they weigh is the configuration's.
    """

    def __init__(
        self,
        generator: OneStepGenerator,
        losses: WeightedLosses,
        metrics: RestorationMetrics,
        settings: StepSettings,
        discriminator: nn.Module | None = None,
        gan: GANSettings | None = None,
        seed: int = 0,
        sample_count: int = 8,
        sample_latent: bool = False,
        efficiency: Efficiency | None = None,
        log_gradients_every: int = 0,
    ) -> None:
        super().__init__(settings)
        self.generator, self.losses, self.metrics = generator, losses, metrics
        self.gan = gan or GANSettings()
        self.discriminator = discriminator if self.gan.weight else None
        self.adversarial = GAN_LOSSES[self.gan.kind]()
        self.seed, self.sample_count, self.sample_latent = seed, sample_count, sample_latent
        self.efficiency = efficiency or Efficiency()
        self.log_gradients_every = log_gradients_every

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One AdamW for LoRA and prompt convolutions, one for the discriminator."""
        fused = self.efficiency.fused_adam
        rate = self.settings.learning_rate
        optimizers = [adam(self.generator.parameters(), rate, fused=fused)]
        if self.discriminator is not None:
            rate = self.gan.learning_rate
            optimizers.append(adam(self.discriminator.parameters(), rate, fused=fused))
        return optimizers

    def _optimizers(self) -> tuple[Any, Any]:
        found = self.optimizers()
        return tuple(found) if isinstance(found, list) else (found, None)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update of the generator, then one of the discriminator, on the same batch."""
        generator_optimizer, discriminator_optimizer = self._optimizers()
        degraded_latent, latent = self._encode(batch)
        self.toggle_optimizer(generator_optimizer)
        restored = self.generator(batch["lq"], degraded_latent)
        terms = self.losses(restored.image, batch["hq"])
        weights = dict(self.losses.weights)
        noised = None
        if self.discriminator is not None:
            noised = self._noised(restored, latent, batch["key"])
            logits = self.discriminator(noised.fake, noised.timestep, noised.prompt)
            terms["gan"] = self.adversarial.generator(logits)
            weights["gan"] = self.gan.weight
        total = self._log_terms(terms, weights, restored.latent)
        self.update(generator_optimizer, total, "generator", batch["key"])
        self.untoggle_optimizer(generator_optimizer)
        if noised is not None:
            self.toggle_optimizer(discriminator_optimizer)
            self._update_discriminator(discriminator_optimizer, noised, batch["key"])
            self.untoggle_optimizer(discriminator_optimizer)
        self.finish_micro_batch()

    @torch.no_grad()
    def _encode(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Encodes LQ and HQ in one VAE pass; HQ only where the discriminator needs it."""
        domains = ("lq",) if self.discriminator is None else ("lq", "hq")
        images = torch.cat([batch[domain] for domain in domains])
        noise = None
        if self.sample_latent:
            noise = torch.cat([self._posterior_noise(batch, domain) for domain in domains])
        codec = self.generator.codec
        if self.efficiency.share_encodes:
            latents = codec.encode(images, noise).chunk(len(domains))
        else:
            noises = [None] * len(domains) if noise is None else noise.chunk(len(domains))
            pairs = zip(images.chunk(len(domains)), noises, strict=True)
            latents = tuple(codec.encode(*pair) for pair in pairs)
        return latents[0], latents[-1]

    def _posterior_noise(self, batch: dict[str, Any], domain: str) -> Tensor:
        """Draws from (seed, step, key) too: no resume, rank or discriminator changes it."""
        shape = self.generator.codec.latent_shape(batch[domain])
        sources = (
            keyed_generator(self.seed, self.generator_step, f"{key}/{domain}")
            for key in batch["key"]
        )
        noises = [torch.randn(shape, generator=source) for source in sources]
        return torch.stack(noises).to(batch[domain])

    def _log_terms(
        self, terms: dict[str, Tensor], weights: dict[str, float], latent: Tensor
    ) -> Tensor:
        weighted = {name: weights[name] * value for name, value in terms.items()}
        every = self.log_gradients_every
        if every and self.generator_step % every == 0:
            norms = latent_gradient_norms(weighted, latent)
            self.figures.add_norms({f"loss/{n}/latent_gradient": v for n, v in norms.items()})
        total = torch.stack(list(weighted.values())).sum()
        self.figures.add({f"loss/{name}/raw": value for name, value in terms.items()})
        self.figures.add({f"loss/{name}/weighted": value for name, value in weighted.items()})
        self.figures.add({"loss/total": total})
        return total

    def _noised(self, restored: Restoration, latent: Tensor, keys: Sequence[str]) -> "_Noised":
        """Draws t and noise from (seed, step, key): no batch size or rank changes them."""
        alphas = self.generator.alphas_cumprod
        timesteps, noises = [], []
        for key in keys:
            source = keyed_generator(self.seed, self.generator_step, key)
            timesteps.append(torch.randint(len(alphas), (1,), generator=source))
            noises.append(torch.randn(latent.shape[1:], generator=source))
        timestep = torch.cat(timesteps).to(latent.device)
        noise = torch.stack(noises).to(latent)
        alpha = alphas[timestep]
        # The prompt is an input of the discriminator, not a way for its gradient (ours, O).
        return _Noised(
            fake=diffuse(restored.latent, noise, alpha),
            real=diffuse(latent, noise, alpha),
            timestep=timestep,
            prompt=restored.prompt.detach(),
        )

    def _update_discriminator(self, optimizer: Any, noised: "_Noised", keys: Sequence[str]) -> None:
        assert self.discriminator is not None
        both = torch.cat([noised.real, noised.fake.detach()])
        logits = self.discriminator(both, noised.timestep.repeat(2), noised.prompt.repeat(2, 1, 1))
        real, fake = logits.chunk(2)
        loss = self.adversarial.discriminator(real, fake)
        accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        self.figures.add({"loss/discriminator": loss, "discriminator/accuracy": accuracy})
        self.update(optimizer, loss, "discriminator", keys)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Restores a batch, adds it to the figures and keeps the first pictures."""
        restored = self.generator(batch["lq"]).image.clamp(-1, 1)
        self.metrics.update(restored, batch["hq"])
        if batch_idx == 0:
            count = self.sample_count
            self.sample_images = {
                "lq": batch["lq"][:count].cpu(),
                "restored": restored[:count].float().cpu(),
                "hq": batch["hq"][:count].cpu(),
            }
            self.sample_keys = list(batch["key"][:count])

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures, reduced over ranks by torchmetrics."""
        self.validation_metrics = self.metrics.compute()
        self.metrics.reset()

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end


@dataclass
class _Noised:
    """Noised latents that both updates share, (B, C, h, w), with t (B,) and the prompt."""

    fake: Tensor
    real: Tensor
    timestep: Tensor
    prompt: Tensor
