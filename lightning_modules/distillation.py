"""Stage 2: one-step LoRA distillation, with critics in latent space."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.critics import Critic, Draws
from lightning_modules.stepped import SteppedModule, StepSettings, adam, keyed_generator
from osdface.losses import WeightedLosses
from osdface.losses.balance import latent_gradient_norms
from osdface.metrics import RestorationMetrics
from osdface.networks.adaptation import without_lora
from osdface.networks.efficiency import Efficiency
from osdface.networks.generator import OneStepGenerator


class OneStepDistillationModule(SteppedModule):
    """Trains what is adapted of a :class:`OneStepGenerator`, and the critics' networks.

    Total loss: a weighted sum of image losses and of the critics' terms. OSDFace (P): MSE +
    lambda_per EA-DISTS + lambda_ID L_ID + lambda_G L_G; OSEDiff (R): MSE + 2 LPIPS + L_VSD. Which
    terms act and how much they weigh is the configuration's.

    Attributes:
        critics: In the order of their updates.
        discriminator: The network of ``gan``; None where it is off.
        regulariser: The network of ``vsd``; None where it is off.
    """

    def __init__(
        self,
        generator: OneStepGenerator,
        losses: WeightedLosses,
        metrics: RestorationMetrics,
        settings: StepSettings,
        critics: Sequence[Critic] = (),
        seed: int = 0,
        sample_count: int = 8,
        sample_latent: bool = False,
        efficiency: Efficiency | None = None,
        log_gradients_every: int = 0,
    ) -> None:
        super().__init__(settings)
        self.generator, self.losses, self.metrics = generator, losses, metrics
        self.critics = list(critics)
        self.discriminator: nn.Module | None = None
        self.regulariser: nn.Module | None = None
        for critic in self.critics:
            setattr(self, critic.updates, critic.network)
        self.seed, self.sample_count, self.sample_latent = seed, sample_count, sample_latent
        self.efficiency = efficiency or Efficiency()
        self.log_gradients_every = log_gradients_every

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One AdamW for the generator, then one for each critic."""
        parts = [(self.generator, self.settings.learning_rate)]
        parts += [(critic.network, critic.learning_rate) for critic in self.critics]
        options = {"fused": self.efficiency.fused_adam, "weight_decay": self.settings.weight_decay}
        return [adam(network.parameters(), rate, **options) for network, rate in parts]

    def _optimizers(self) -> list[Any]:
        found = self.optimizers()
        return found if isinstance(found, list) else [found]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update of the generator, then one of each critic, on the same batch."""
        generator_optimizer, *optimizers = self._optimizers()
        self.toggle_optimizer(generator_optimizer)
        degraded_latent, target = self._encode(batch)
        restored = self.generator(batch["lq"], degraded_latent, batch["key"])
        self.logged |= getattr(self.generator.prompt_source, "figures", dict)()
        terms, weights = self.losses(restored.image, batch["hq"]), dict(self.losses.weights)
        draws = Draws(self.seed, self.generator_step, batch["key"])
        alphas = self.generator.alphas_cumprod
        seen = [critic.look(restored, target, alphas, draws) for critic in self.critics]
        for critic, each in zip(self.critics, seen, strict=True):
            terms[critic.term] = critic.generator_term(each)
            weights[critic.term] = critic.weight
        total = self._log_terms(terms, weights, restored.latent)
        self.update(generator_optimizer, total, "generator", batch["key"])
        self.untoggle_optimizer(generator_optimizer)
        for critic, each, optimizer in zip(self.critics, seen, optimizers, strict=True):
            self.toggle_optimizer(optimizer)
            loss, figures = critic.own_loss(each)
            self.figures.add({f"loss/{critic.updates}": loss} | figures)
            self.update(optimizer, loss, critic.updates, batch["key"])
            self.untoggle_optimizer(optimizer)
        self.finish_micro_batch()

    def _encode(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Returns z_L, in the graph where the encoder is trained, and z_H for who needs it.

        z_H is the frozen encoder's: what a critic calls real must not move with training (ours, O).
        Without need of z_H the second one is z_L again.
        """
        codec = self.generator.codec
        wants_target = any(critic.needs_target for critic in self.critics)
        if codec.adapted:
            degraded = self._encode_together(batch, ["lq"])[0]
            if not wants_target:
                return degraded, degraded
            with torch.no_grad(), without_lora(codec.vae):
                return degraded, self._encode_together(batch, ["hq"])[0]
        domains = ["lq", "hq"] if wants_target else ["lq"]
        groups = [domains] if self.efficiency.share_encodes else [[each] for each in domains]
        with torch.no_grad():
            latents = [each for group in groups for each in self._encode_together(batch, group)]
        return latents[0], latents[-1]

    def _encode_together(self, batch: dict[str, Any], domains: list[str]) -> tuple[Tensor, ...]:
        """Encodes images of some domains as one batch."""
        images, noise = torch.cat([batch[domain] for domain in domains]), None
        if self.sample_latent:
            noise = torch.cat([self._posterior_noise(batch, domain) for domain in domains])
        return self.generator.codec.encode(images, noise).chunk(len(domains))

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

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Restores a batch, adds it to the figures and keeps the first pictures."""
        restored = self.generator(batch["lq"], keys=batch["key"]).image.clamp(-1, 1)
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
