"""How the shipped tiny base is made: its VAE, then its noise predictor."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.stepped import SteppedModule, StepSettings, adam
from osdface.networks.base import DiffusionBase
from osdface.networks.caption import CaptionEmbedding
from osdface.networks.generator import diffuse


class VAEPretrainingModule(SteppedModule):
    """AutoencoderKL by L1, a perceptual loss and a small KL term; no discriminator (ours, O)."""

    def __init__(
        self,
        vae: nn.Module,
        settings: StepSettings,
        kl_weight: float,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.0,
    ) -> None:
        super().__init__(settings)
        self.vae = vae
        self.perceptual = perceptual.requires_grad_(False) if perceptual else None
        self.kl_weight, self.perceptual_weight = kl_weight, perceptual_weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the whole VAE."""
        return adam(self.vae.parameters(), self.settings.learning_rate, weight_decay=0.0)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update on HQ images."""
        images = batch["hq"]
        posterior = self.vae.encode(images).latent_dist
        restored = self.vae.decode(posterior.sample()).sample
        terms = {
            "l1": (restored - images).abs().mean(),
            "mse": (restored - images).square().mean(),
            "kl": self.kl_weight * posterior.kl().mean(),
        }
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual_weight * self.perceptual(restored, images)
        self.figures.add({f"loss/{name}": value for name, value in terms.items()})
        total = torch.stack(list(terms.values())).sum()
        self.update(self.optimizers(), total, "vae", batch["key"])
        self.finish_micro_batch()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects the round trip's error and the latents' moments."""
        images = batch["hq"]
        latent = self.vae.encode(images).latent_dist.mode()
        restored = self.vae.decode(latent).sample.clamp(-1, 1)
        error = (restored - images).square().mean((1, 2, 3)) / 4
        psnr = -10 * error.log10()
        self.log("val/psnr", psnr.mean(), batch_size=len(images), sync_dist=True)
        self.log("val/latent_std", latent.std(), batch_size=len(images), sync_dist=True)
        self.log("val/latent_mean", latent.mean(), batch_size=len(images), sync_dist=True)
        if batch_idx == 0:
            self.sample_images = {"hq": images.cpu(), "reconstructed": restored.cpu()}
            self.sample_keys = list(batch["key"])

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures for the callbacks."""
        metrics = self.trainer.callback_metrics
        names = ("psnr", "latent_std", "latent_mean")
        self.validation_metrics = {name: float(metrics[f"val/{name}"]) for name in names}


class DiffusionPretrainingModule(SteppedModule):
    """The base's noise predictor: epsilon prediction at a random t, prompted by captions."""

    def __init__(
        self,
        base: DiffusionBase,
        caption: CaptionEmbedding,
        settings: StepSettings,
        caption_dropout: float = 0.1,
    ) -> None:
        super().__init__(settings)
        self.unet = base.unet
        self.codec = base.codec.requires_grad_(False).eval()
        self.caption = caption
        self.caption_dropout = caption_dropout
        self.register_buffer("alphas_cumprod", base.alphas_cumprod.float(), persistent=False)
        self.alphas_cumprod: Tensor

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the UNet and the caption embedding."""
        parameters = [*self.unet.parameters(), *self.caption.parameters()]
        return adam(parameters, self.settings.learning_rate, weight_decay=0.01)

    def _loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        latent = batch.get("latent")  # encoded beforehand, or here
        if latent is None:
            with torch.no_grad():
                latent = self.codec.encode(batch["hq"])
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        steps = len(self.alphas_cumprod)
        timestep = torch.randint(steps, (len(latent),), generator=generator).to(latent.device)
        dropped = torch.rand(len(latent), generator=generator) < self.caption_dropout
        attributes = batch.get("attributes")
        if attributes is None:  # photographs come without captions
            attributes = timestep.new_full((len(latent), len(self.caption.starts)), -1)
        prompt = self.caption(attributes, dropped.to(latent.device))
        noisy = diffuse(latent, noise, self.alphas_cumprod[timestep])
        predicted = self.unet(noisy, timestep, encoder_hidden_states=prompt).sample
        return (predicted - noise).square().mean()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update."""
        loss = self._loss(batch)
        self.figures.add({"loss/noise": loss})
        self.update(self.optimizers(), loss, "unet", batch["key"])
        self.finish_micro_batch()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The same loss on held-out people, noise fixed by the batch's number."""
        loss = self._loss(batch, torch.Generator().manual_seed(batch_idx))
        self.log("val/noise", loss, batch_size=len(batch["key"]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Publishes the figure for the callbacks."""
        self.validation_metrics = {"noise": float(self.trainer.callback_metrics["val/noise"])}
