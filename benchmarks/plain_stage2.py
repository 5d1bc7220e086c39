"""What is written first: one stage-2 step as a plain loop, term by term and image by image.

``benchmarks.train_step`` holds ours against it. Networks, losses and weights are the same, and so
are the numbers (a test compares them): float32 weights, LQ and HQ encoded one after the other, the
VRE's entries picked image by image and token by token, images and edges through the perceptual
network in calls of their own, the discriminator run three times, every term read at once.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.embedder import looped_selection
from lightning_modules.distillation import OneStepDistillationModule
from osdface.losses.edges import sobel_edges
from osdface.losses.perceptual import full_precision, unit_range
from osdface.networks.generator import diffuse, predicted_original


class PlainStage2:
    """Trains the networks of a module as a plain loop would.

    Args:
        module: Gives networks, weights and learning rates; its own step is not used.
    """

    def __init__(self, module: OneStepDistillationModule) -> None:
        self.generator, self.discriminator = module.generator, module.discriminator
        self.losses, self.weights = module.losses.losses, dict(module.losses.weights)
        (adversary,) = module.critics
        self.weights["gan"] = adversary.weight
        self.clip, rates = module.settings.clip, (module.settings, adversary)
        self.optimizers = [
            torch.optim.AdamW([p for p in part.parameters() if p.requires_grad], rate.learning_rate)
            for part, rate in zip((self.generator, self.discriminator), rates, strict=True)
        ]

    def prompt(self, images: Tensor) -> Tensor:
        """Maps LQ images to the prompt, one image and one token after the other."""
        source = self.generator.prompt_source
        embedder = source.embedder
        rows = []
        for image in images:
            with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
                tokens = embedder.tokens(image[None])
                rows.append(looped_selection(tokens, embedder.codebook, embedder.count))
        return source.convs(torch.cat(rows))

    def step(self, batch: dict[str, Any], noise: Tensor, timestep: Tensor) -> dict[str, float]:
        """One update of both networks; returns the raw terms.

        Args:
            batch: ``lq`` and ``hq`` (B, 3, H, W) in [-1, 1].
            noise: Of the discriminator's latents, (B, C, h, w).
            timestep: Theirs, (B,).
        """
        generator, codec = self.generator, self.generator.codec
        with torch.no_grad():
            degraded_latent = codec.encode(batch["lq"])
            latent = codec.encode(batch["hq"])
        prompt = self.prompt(batch["lq"])
        predicted = generator.unet(
            degraded_latent, generator.timestep, encoder_hidden_states=prompt, return_dict=False
        )[0]
        alpha = generator.alphas_cumprod
        restored = predicted_original(degraded_latent, predicted, alpha[generator.timestep])
        image = codec.decode(restored)
        terms = {
            name: self.term(name, loss, image, batch["hq"]) for name, loss in self.losses.items()
        }
        fake = diffuse(restored, noise, alpha[timestep])
        logits = self.discriminator(fake, timestep, prompt.detach())
        terms["gan"] = F.softplus(-full_precision(logits)).mean()
        read = {name: value.item() for name, value in terms.items()}
        sum(self.weights[name] * value for name, value in terms.items()).backward()
        self.update(0)

        self.optimizers[1].zero_grad()  # the generator's loss left gradients here
        real = diffuse(latent, noise, alpha[timestep])
        on_real = full_precision(self.discriminator(real, timestep, prompt.detach()))
        on_fake = full_precision(self.discriminator(fake.detach(), timestep, prompt.detach()))
        loss = (F.softplus(-on_real).mean() + F.softplus(on_fake).mean()) / 2
        loss.backward()
        self.update(1)
        return read | {"discriminator": loss.item()}

    def term(self, name: str, loss: Any, restored: Tensor, target: Tensor) -> Tensor:
        """Returns one raw term; an edge-aware one takes two calls of its plain loss."""
        if not name.startswith("ea_"):
            return loss(restored, target)
        with torch.autocast(restored.device.type, enabled=False):
            pair = unit_range(restored), unit_range(target)
            edges = (sobel_edges(each).repeat(1, 3, 1, 1) for each in pair)
            plain = loss.loss
            return (plain.distances(*pair) + plain.distances(*edges)).mean()

    def update(self, number: int) -> None:
        """Clips and updates one of the two networks."""
        optimizer = self.optimizers[number]
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], self.clip)
        optimizer.step()
        optimizer.zero_grad()
