"""How the shipped stand-ins for ArcFace and VGG are trained, on procedural portraits alone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.ranks import gather_rows
from lightning_modules.stepped import SteppedModule, StepSettings, adam
from osdface.networks.tiny_identity import ArcMarginHead, TinyIdentityNetwork
from osdface.networks.tiny_perceptual import TinyPerceptualHeads, TinyPerceptualNetwork


def pair_accuracy(embeddings: Tensor, identities: Tensor) -> dict[str, float]:
    """Returns how well cosine similarity tells same from different people.

    Args:
        embeddings: Unit norm, (N, D).
        identities: Labels, (N,).

    Returns:
        ``accuracy`` at the best threshold over balanced classes, mean ``same``, ``different``.
    """
    similarity = embeddings @ embeddings.T
    upper = torch.ones_like(similarity, dtype=torch.bool).triu(1)
    same = similarity[upper & (identities[:, None] == identities)]
    different = similarity[upper & (identities[:, None] != identities)]
    thresholds = torch.linspace(-1, 1, 401)
    hits = (same[None] > thresholds[:, None]).double().mean(1)
    rejections = (different[None] <= thresholds[:, None]).double().mean(1)
    return {
        "accuracy": float(((hits + rejections) / 2).max()),
        "same": float(same.mean()),
        "different": float(different.mean()),
    }


class IdentityPretrainingModule(SteppedModule):
    """ArcFace-style training: additive angular margin over the training people.

    A part of the images are the degraded ones, so that embeddings survive mild damage.
    """

    def __init__(
        self,
        network: TinyIdentityNetwork,
        head: ArcMarginHead,
        settings: StepSettings,
        degraded_share: float = 0.25,
    ) -> None:
        super().__init__(settings)
        self.network, self.head, self.degraded_share = network, head, degraded_share
        self._collected: list[tuple[Tensor, Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the network and the margin head."""
        return adam(self.parameters(), self.settings.learning_rate, weight_decay=5e-4)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update."""
        degraded = torch.rand(len(batch["hq"]), 1, 1, 1) < self.degraded_share
        images = torch.where(degraded.to(batch["hq"].device), batch["lq"], batch["hq"])
        logits = self.head(self.network(images), batch["identity"])
        loss = F.cross_entropy(logits, batch["identity"])
        self.figures.add({"loss/arcface": loss})
        self.update(self.optimizers(), loss, "identity", batch["key"])
        self.finish_micro_batch()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collects embeddings of held-out people."""
        self._collected.append((self.network(batch["hq"]), batch["identity"]))

    def on_validation_epoch_end(self) -> None:
        """Pair accuracy over all held-out pictures, those of other ranks too."""
        embeddings, identities = (
            gather_rows(torch.cat(part)) for part in zip(*self._collected, strict=True)
        )
        self._collected.clear()
        self.validation_metrics = pair_accuracy(embeddings, identities)

    def extra_state_keys(self) -> list[str]:
        """BatchNorm statistics belong to the checkpoint."""
        return [name for name, _ in self.named_buffers()]


class PerceptualPretrainingModule(SteppedModule):
    """Attribute classification and regression of three degradation severities.

    The second task is what makes the features' distance grow with blur, noise and compression.
    Severities are drawn here: blur sigma in [0, 3] px, noise in [0, 0.15], block size 1 to 4.
    """

    def __init__(
        self,
        network: TinyPerceptualNetwork,
        heads: TinyPerceptualHeads,
        attributes: list[str],
        settings: StepSettings,
    ) -> None:
        super().__init__(settings)
        self.network, self.heads, self.attributes = network, heads, attributes

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the network and its training heads."""
        return adam(self.parameters(), self.settings.learning_rate, weight_decay=1e-4)

    def _terms(self, batch: dict[str, Any], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        images = (batch["hq"] + 1) / 2
        generator = torch.Generator().manual_seed(seed)
        severities = torch.rand(len(images), 3, generator=generator)
        severities = severities * (torch.rand(len(images), 3, generator=generator) < 0.6)
        damaged = torch.stack(
            [damage(image, s, generator) for image, s in zip(images, severities, strict=True)]
        )
        logits, predicted = self.heads(self.network(damaged))
        classes = batch["attributes"]
        losses = [
            F.cross_entropy(logits[name], classes[:, i]) for i, name in enumerate(self.attributes)
        ]
        hits = [
            (logits[name].argmax(1) == classes[:, i]).float().mean()
            for i, name in enumerate(self.attributes)
        ]
        severity = F.mse_loss(predicted, severities.to(predicted))
        return torch.stack(losses).mean(), severity, torch.stack(hits).mean()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update."""
        attributes, severity, _ = self._terms(batch, self.generator_step)
        self.figures.add({"loss/attributes": attributes, "loss/severity": severity})
        self.update(self.optimizers(), attributes + 5 * severity, "perceptual", batch["key"])
        self.finish_micro_batch()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Accuracy over attributes and the severities' error on held-out people."""
        _, severity, accuracy = self._terms(batch, batch_idx)
        size = len(batch["hq"])
        self.log("val/accuracy", accuracy, batch_size=size, sync_dist=True)
        # The root comes last: a mean of the batches' roots would depend on their size.
        self.log("val/severity_mse", severity, batch_size=size, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Publishes the figures for the callbacks."""
        metrics = self.trainer.callback_metrics
        self.validation_metrics = {
            "accuracy": float(metrics["val/accuracy"]),
            "severity_rmse": float(metrics["val/severity_mse"]) ** 0.5,
        }


def damage(image: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Blurs, pixelates and adds noise to one image.

    Args:
        image: (3, H, W) in [0, 1].
        severity: (3,) in [0, 1]: blur (sigma up to 3 px), noise (up to 0.15), blocks (up to 4 px).
        generator: Source of the noise.
    """
    blur, noise, blocks = (float(value.detach()) for value in severity)
    if blur > 0.02:
        sigma = 3 * blur
        radius = max(1, int(3 * sigma))
        taps = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
        taps = (taps / taps.sum()).to(image)
        padded = F.pad(image[None], (radius,) * 4, mode="replicate")
        rows = nn.functional.conv2d(padded, taps.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)
        image = F.conv2d(rows, taps.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)[0]
    if blocks > 0.02:
        size = max(4, round(image.shape[-1] / (1 + 3 * blocks)))
        small = F.interpolate(image[None], size=(size, size), mode="area")
        image = F.interpolate(small, size=image.shape[-2:], mode="nearest")[0]
    return image + 0.15 * noise * torch.randn(image.shape, generator=generator).to(image)
