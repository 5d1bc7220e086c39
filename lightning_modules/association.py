"""Stage 1, last part: both dictionaries go on together, their tokens associated."""

from typing import Any

import torch
from torch import nn

from lightning_modules.codebook_watch import CodebookWatch
from lightning_modules.dictionary import DictionaryTraining, stage1_adam
from lightning_modules.stepped import SteppedModule, StepSettings
from osdface.losses.association import AssociationLoss


class DictionaryAssociationModule(SteppedModule):
    """HQ and LQ autoencoders with lambda_assoc 1 (A); the temperature is learned.

    ``earlier_steps`` are the steps each autoencoder has already done, so that its discriminator's
    start counts on.
    """

    def __init__(
        self,
        hq: DictionaryTraining,
        lq: DictionaryTraining,
        settings: StepSettings,
        association_weight: float = 1.0,
        earlier_steps: dict[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(settings)
        self.dictionaries = nn.ModuleDict({"hq": hq, "lq": lq})
        self.association = AssociationLoss(gather=True)
        self.association_weight, self.seed = association_weight, seed
        self.earlier_steps = earlier_steps or {"hq": 0, "lq": 0}
        self.watch = CodebookWatch(["hq", "lq"], hq.autoencoder.config.entries)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for both autoencoders and the temperature, one for both discriminators."""
        rate = self.settings.learning_rate
        both = self.dictionaries.values()
        generator = [p for d in both for p in d.autoencoder.parameters()]
        discriminator = [p for d in both for p in d.discriminator.parameters()]
        return [
            stage1_adam([*generator, *self.association.parameters()], rate),
            stage1_adam(discriminator, rate),
        ]

    def extra_state_keys(self) -> list[str]:
        """Idle counters decide on restarts, so a resume needs them."""
        return [name for name, _ in self.named_buffers() if name.endswith("idle_steps")]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update of both autoencoders and, once started, of both discriminators."""
        generator_optimizer, discriminator_optimizer = self.optimizers()
        self.toggle_optimizer(generator_optimizer)
        passed, terms = {}, {}
        for domain, dictionary in self.dictionaries.items():
            step = self.earlier_steps[domain] + self.generator_step
            passed[domain] = dictionary.autoencoder(batch[domain])
            own = dictionary.generator_terms(batch[domain], passed[domain], step)
            terms |= {f"{domain}/{name}": value for name, value in own.items()}
        flat = [passed[d].tokens.flatten(2).transpose(1, 2) for d in ("hq", "lq")]
        terms["association"] = self.association_weight * self.association(*flat)
        self.logged |= {f"loss/{name}": float(value.detach()) for name, value in terms.items()}
        self.logged["association/temperature"] = float(self.association.temperature().detach())
        total = torch.stack(list(terms.values())).sum()
        self.update(generator_optimizer, total, "autoencoder", batch["key"])
        self.untoggle_optimizer(generator_optimizer)
        self._update_discriminators(discriminator_optimizer, batch, passed)
        for domain, dictionary in self.dictionaries.items():
            if self.completes_step:
                own_step = self.earlier_steps[domain] + self.generator_step
                restarted = dictionary.restart(
                    passed[domain].tokens, passed[domain].quantized.indices, own_step, self.seed
                )
                self.logged[f"codebook/{domain}/restarted"] = float(restarted)
        self.finish_micro_batch()

    def _update_discriminators(self, optimizer: Any, batch: dict[str, Any], passed: dict) -> None:
        started = [
            (domain, dictionary)
            for domain, dictionary in self.dictionaries.items()
            if self.earlier_steps[domain] + self.generator_step
            >= dictionary.settings.discriminator_start
        ]
        if not started:
            return
        self.toggle_optimizer(optimizer)
        losses = [d.discriminator_term(batch[name], passed[name]) for name, d in started]
        loss = torch.stack(losses).sum()
        self.logged["loss/discriminator"] = float(loss.detach())
        self.update(optimizer, loss, "discriminator", batch["key"])
        self.untoggle_optimizer(optimizer)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects reconstruction, usage and association top-1 both ways."""
        passed = {d: m.autoencoder(batch[d]) for d, m in self.dictionaries.items()}
        for domain, reconstruction in passed.items():
            self.watch.add(domain, batch[domain], reconstruction)
        self.watch.add_association(passed["hq"].tokens, passed["lq"].tokens)
        if batch_idx == 0:
            self.sample_images = {
                "lq": batch["lq"].cpu(),
                "lq_reconstructed": passed["lq"].image.clamp(-1, 1).cpu(),
                "hq_reconstructed": passed["hq"].image.clamp(-1, 1).cpu(),
                "hq": batch["hq"].cpu(),
            }
            self.sample_keys = list(batch["key"])

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures for the callbacks."""
        self.validation_metrics = self.watch.compute(self.trainer.world_size)
