"""Stage 1: one VQ dictionary (HQ or LQ), trained by self-reconstruction."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from lightning_modules.codebook_report import codebook_report
from lightning_modules.codebook_watch import CodebookWatch
from lightning_modules.stepped import SteppedModule, StepSettings
from osdface.losses.adversarial import Hinge, adaptive_weight
from osdface.losses.codebook import CodebookLoss
from osdface.networks.autoencoder import Reconstruction, VQAutoencoder


@dataclass(frozen=True)
class DictionarySettings:
    """The losses of one autoencoder (D), and the restart of dead entries (ours, O).

    Attributes:
        perceptual_weight: 1.0 (D, 2).
        gan_weight: 0.8, times the adaptive weight (D, 2).
        commitment: beta, 0.25 (R, D).
        swapped_commitment: Whether beta sits on the codebook term, the taming family's bug.
        discriminator_start: Step of this autoencoder at which its discriminator starts;
            30,001 (D).
        restart_every: Steps between restarts of dead entries, 0 for none.
        restart_idle: Steps without use after which an entry is dead.
        restart_until: Step after which no entry is restarted.
    """

    perceptual_weight: float = 1.0
    gan_weight: float = 0.8
    commitment: float = 0.25
    swapped_commitment: bool = False
    discriminator_start: int = 30_001
    restart_every: int = 0
    restart_idle: int = 15
    restart_until: int = 0


class DictionaryTraining(nn.Module):
    """An autoencoder with its discriminator and losses; both stage-1 modules are made of it."""

    def __init__(
        self,
        autoencoder: VQAutoencoder,
        discriminator: nn.Module,
        perceptual: nn.Module,
        settings: DictionarySettings,
    ) -> None:
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator
        self.perceptual = perceptual.requires_grad_(False).eval()
        self.settings = settings
        self.adversarial = Hinge()
        self.codebook_loss = CodebookLoss(settings.commitment, settings.swapped_commitment)
        self._used: Tensor | None = None

    def generator_terms(
        self, images: Tensor, passed: Reconstruction, step: int
    ) -> dict[str, Tensor]:
        """Returns the weighted terms: L1, perceptual, codebook, and GAN once it has started."""
        chosen = self.settings
        tokens, entries = passed.tokens, passed.quantized.entries
        pixel = (passed.image - images).abs().mean()
        perceptual = chosen.perceptual_weight * self.perceptual(passed.image, images)
        terms = {
            "l1": pixel,
            "perceptual": perceptual,
            "codebook": self.codebook_loss(tokens, entries),
        }
        if step >= chosen.discriminator_start:
            gan = self.adversarial.generator(self.discriminator(passed.image))
            weight = adaptive_weight(
                pixel + perceptual, gan, self.autoencoder.last_layer, reduce=True
            )
            terms["gan"] = chosen.gan_weight * weight * gan
        return terms

    def discriminator_term(self, images: Tensor, passed: Reconstruction) -> Tensor:
        """Returns the discriminator's hinge loss on this batch."""
        fake = self.discriminator(passed.image.detach())
        return self.adversarial.discriminator(self.discriminator(images), fake)

    def note_used(self, indices: Tensor) -> None:
        """Remembers the entries that a micro-batch chose, (B, h, w), until :meth:`restart`."""
        if self._used is None:
            self._used = torch.zeros_like(self.autoencoder.quantizer.idle_steps)
        self._used[indices.unique()] = 1

    def restart(self, tokens: Tensor, step: int, seed: int, skipped: bool = False) -> int:
        """Counts idle entries and, when it is time, restarts the dead ones; returns how many.

        Once a step, after :meth:`note_used` of each of its micro-batches. An entry is idle if none
        of them used it on any rank. Tokens of rank zero's last one replace the dead entries on all
        ranks, so that the codebooks stay one.

        Args:
            tokens: Of the last micro-batch, (B, C, h, w).
            step: Of this autoencoder.
            seed: Of the choice of tokens.
            skipped: Whether the step's update was not finite, as its tokens then are: nothing
                happens.
        """
        chosen, quantizer = self.settings, self.autoencoder.quantizer
        used, self._used = self._used, None
        if skipped:
            return 0
        assert used is not None
        if distributed.is_initialized():
            distributed.all_reduce(used, op=distributed.ReduceOp.MAX)
        quantizer.count_idle(used.nonzero().flatten())
        due = chosen.restart_every and step > 0 and step % chosen.restart_every == 0
        if not due or step > chosen.restart_until:
            return 0
        generator = torch.Generator().manual_seed(seed + step)
        flat = tokens.detach().permute(0, 2, 3, 1).reshape(-1, tokens.shape[1])
        restarted = quantizer.restart_dead(flat, chosen.restart_idle, generator)
        if distributed.is_initialized():
            distributed.broadcast(quantizer.codebook.data, 0)
        return restarted


def stage1_adam(parameters: Any, rate: float) -> torch.optim.Optimizer:
    """Adam(0.5, 0.9) (D) with the peak rate kept beside for the schedule."""
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.9))
    for group in optimizer.param_groups:
        group["initial_lr"] = rate
    return optimizer


class VQDictionaryModule(SteppedModule):
    """Trains the HQ dictionary on HQ images, or the LQ dictionary on LQ images (lambda_assoc 0)."""

    def __init__(
        self, training: DictionaryTraining, settings: StepSettings, domain: str, seed: int = 0
    ) -> None:
        super().__init__(settings)
        self.dictionary, self.domain, self.seed = training, domain, seed
        self.watch = CodebookWatch([domain], training.autoencoder.config.entries)
        self.codebook_report: dict[str, Any] = {}
        self.restarted = 0  # since the last validation
        self._grid = (0, 0)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the autoencoder, one for its discriminator."""
        rate = self.settings.learning_rate
        return [
            stage1_adam(self.dictionary.autoencoder.parameters(), rate),
            stage1_adam(self.dictionary.discriminator.parameters(), rate),
        ]

    def extra_state_keys(self) -> list[str]:
        """Idle counters decide on restarts, so a resume needs them."""
        return [name for name, _ in self.named_buffers() if name.endswith("idle_steps")]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the domain too, which the names of the tensors do not tell."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["domain"] = self.domain

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update of the autoencoder and, once started, of the discriminator."""
        images, step = batch[self.domain], self.generator_step
        generator_optimizer, discriminator_optimizer = self.optimizers()
        self.toggle_optimizer(generator_optimizer)
        passed = self.dictionary.autoencoder(images)
        terms = self.dictionary.generator_terms(images, passed, step)
        self.figures.add({f"loss/{name}": value for name, value in terms.items()})
        self.update(
            generator_optimizer,
            torch.stack(list(terms.values())).sum(),
            "autoencoder",
            batch["key"],
        )
        self.untoggle_optimizer(generator_optimizer)
        if step >= self.dictionary.settings.discriminator_start:
            self.toggle_optimizer(discriminator_optimizer)
            loss = self.dictionary.discriminator_term(images, passed)
            self.figures.add({"loss/discriminator": loss})
            self.update(discriminator_optimizer, loss, "discriminator", batch["key"])
            self.untoggle_optimizer(discriminator_optimizer)
        self.dictionary.note_used(passed.quantized.indices)
        if self.completes_step:
            restarted = self.dictionary.restart(
                passed.tokens, step, self.seed, "autoencoder" in self.skipped_now
            )
            # A restart seldom falls on a step that is logged, so the sum is what tells.
            self.restarted += restarted
            self.logged["codebook/restarted"] = float(self.restarted)
        self.finish_micro_batch()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects reconstruction error and which entries are used."""
        images = batch[self.domain]
        passed = self.dictionary.autoencoder(images)
        self.watch.add(self.domain, images, passed)
        self._grid = (passed.tokens.shape[-2], passed.tokens.shape[-1])
        if batch_idx == 0:
            self.sample_images = {
                self.domain: images.cpu(),
                "reconstructed": passed.image.clamp(-1, 1).cpu(),
            }
            self.sample_keys = list(batch["key"])

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures and, on rank zero, what the pictures are drawn from."""
        self.validation_metrics = self.watch.compute(self.trainer.world_size, self.device)
        self.validation_metrics[f"{self.domain}/restarted"] = float(self.restarted)
        self.restarted = 0
        if self.trainer.is_global_zero:
            autoencoders = {self.domain: self.dictionary.autoencoder}
            self.codebook_report = codebook_report(autoencoders, self.watch.last_counts, self._grid)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
