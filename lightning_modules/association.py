"""Stage 1, last part: both dictionaries go on together, their tokens associated."""

from typing import Any

import torch
from torch import nn

from lightning_modules.association_watch import AssociationWatch
from lightning_modules.codebook_report import codebook_report
from lightning_modules.codebook_watch import CodebookWatch
from lightning_modules.dictionary import DictionaryTraining, stage1_adam
from lightning_modules.stepped import SteppedModule, StepSettings
from osdface.losses.association import AssociationLoss


class DictionaryAssociationModule(SteppedModule):
    """HQ and LQ autoencoders with lambda_assoc 1 (A).

    Autoencoders and discriminators go on from the dictionaries' weights; their optimizers start
    anew, because the parameters are grouped otherwise and the released recipe says nothing.

    Args:
        hq: HQ autoencoder, discriminator and losses.
        lq: The same for LQ.
        settings: Steps and rates.
        association_weight: lambda_assoc.
        earlier_steps: Steps each autoencoder has already done, so that its discriminator's start
            counts on.
        seed: Of the restarts.
        learned_temperature: False freezes it at 0.07, as in DAEFR, where no optimizer has it.
        gather: False compares with this rank's tokens alone, as in DAEFR.
    """

    def __init__(
        self,
        hq: DictionaryTraining,
        lq: DictionaryTraining,
        settings: StepSettings,
        association_weight: float = 1.0,
        earlier_steps: dict[str, int] | None = None,
        seed: int = 0,
        learned_temperature: bool = True,
        gather: bool = True,
    ) -> None:
        super().__init__(settings)
        self.dictionaries = nn.ModuleDict({"hq": hq, "lq": lq})
        self.association = AssociationLoss(gather=gather)
        self.association.temperature.requires_grad_(learned_temperature)
        self.association_weight, self.seed = association_weight, seed
        self.earlier_steps = earlier_steps or {"hq": 0, "lq": 0}
        self.watch = CodebookWatch(["hq", "lq"], hq.autoencoder.config.entries)
        self.association_watch = AssociationWatch()
        self.codebook_report: dict[str, Any] = {}
        self.restarted = {"hq": 0, "lq": 0}  # since the last validation
        self._grid = (0, 0)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for both autoencoders and the temperature, one for both discriminators."""
        rate = self.settings.learning_rate
        temperature = [p for p in self.association.parameters() if p.requires_grad]
        both = self.dictionaries.values()
        generator = [p for d in both for p in d.autoencoder.parameters()]
        discriminator = [p for d in both for p in d.discriminator.parameters()]
        return [
            stage1_adam([*generator, *temperature], rate),
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
        self.figures.add({f"loss/{name}": value for name, value in terms.items()})
        self.figures.add({"association/temperature": self.association.temperature()})
        total = torch.stack(list(terms.values())).sum()
        self.update(generator_optimizer, total, "autoencoder", batch["key"])
        self.untoggle_optimizer(generator_optimizer)
        self._update_discriminators(discriminator_optimizer, batch, passed)
        for domain, dictionary in self.dictionaries.items():
            dictionary.note_used(passed[domain].quantized.indices)
            if self.completes_step:
                own_step = self.earlier_steps[domain] + self.generator_step
                restarted = dictionary.restart(
                    passed[domain].tokens, own_step, self.seed, "autoencoder" in self.skipped_now
                )
                self.restarted[domain] += restarted
                self.logged[f"codebook/{domain}/restarted"] = float(self.restarted[domain])
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
        self.figures.add({"loss/discriminator": loss})
        self.update(optimizer, loss, "discriminator", batch["key"])
        self.untoggle_optimizer(optimizer)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects reconstruction, usage and association top-1 both ways."""
        passed = {d: m.autoencoder(batch[d]) for d, m in self.dictionaries.items()}
        for domain, reconstruction in passed.items():
            self.watch.add(domain, batch[domain], reconstruction)
        tokens = [passed[domain].tokens for domain in ("hq", "lq")]
        self.association_watch.add(*tokens, self.association.temperature())
        self._grid = (tokens[0].shape[-2], tokens[0].shape[-1])
        if batch_idx == 0:
            self.sample_images = {
                "lq": batch["lq"].cpu(),
                "lq_reconstructed": passed["lq"].image.clamp(-1, 1).cpu(),
                "hq_reconstructed": passed["hq"].image.clamp(-1, 1).cpu(),
                "hq": batch["hq"].cpu(),
            }
            self.sample_keys = list(batch["key"])

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures and, on rank zero, what the pictures are drawn from."""
        where = (self.trainer.world_size, self.device)
        figures = self.watch.compute(*where) | self.association_watch.compute(*where)
        figures |= {f"{domain}/restarted": float(n) for domain, n in self.restarted.items()}
        self.validation_metrics = figures
        self.restarted = dict.fromkeys(self.restarted, 0)
        if self.trainer.is_global_zero:
            autoencoders = {name: d.autoencoder for name, d in self.dictionaries.items()}
            similarity = self.association_watch.similarity
            self.codebook_report = codebook_report(
                autoencoders, self.watch.last_counts, self._grid, similarity
            )

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
