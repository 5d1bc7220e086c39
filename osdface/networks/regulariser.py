"""The two noise predictors of variational score distillation, one set of frozen weights."""

import copy

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from osdface.networks.adaptation import without_lora
from osdface.networks.lora import DEFAULT_TARGETS, add_lora


def shared_copy(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Returns a UNet of its own modules over the same parameters: LoRA on it costs LoRA alone."""
    memo = {id(parameter): parameter for parameter in unet.parameters()}
    return copy.deepcopy(unet, memo)


class ScoreRegulariser(nn.Module):
    """The base's UNet twice: as it is, and with a LoRA that learns the generator's latents.

    Must be built before the generator's own LoRA is added to ``unet``. Source: OSEDiff, whose code
    (R) keeps three UNets; here the frozen one and the generator's share their weights.

    Args:
        unet: The base's UNet.
        negative_prompt: What guidance leads away from, (rows, prompt_dim).
        rank: Of the LoRA; 4 (R).
        alpha: Of the LoRA.
        targets: Layers with LoRA.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        negative_prompt: Tensor,
        rank: int = 4,
        alpha: float = 8,
        targets: tuple[str, ...] = DEFAULT_TARGETS,
    ) -> None:
        super().__init__()
        self.unet = add_lora(shared_copy(unet), rank, alpha, targets)
        self.register_buffer("negative_prompt", negative_prompt.detach().clone(), persistent=False)
        self.negative_prompt: Tensor

    def forward(self, latent: Tensor, timestep: Tensor, prompt: Tensor) -> Tensor:
        """Predicts the noise with the LoRA.

        Args:
            latent: Noised latents F(z, t), (B, C, h, w).
            timestep: t of each sample, (B,) int64.
            prompt: (B, rows, prompt_dim).
        """
        return self.unet(latent, timestep, encoder_hidden_states=prompt, return_dict=False)[0]

    @torch.no_grad()
    def frozen(self, latent: Tensor, timestep: Tensor, prompt: Tensor, guidance: float) -> Tensor:
        """Predicts the noise without the LoRA, guided: eps(neg) + s (eps(prompt) - eps(neg)).

        Args are those of :meth:`forward`; ``guidance`` is the scale s, 7.5 (R).
        """
        negative = self.negative_prompt.to(prompt).expand(prompt.shape[0], -1, -1)
        with without_lora(self.unet):
            if negative.shape != prompt.shape:
                away, towards = self(latent, timestep, negative), self(latent, timestep, prompt)
            else:
                prompts = torch.cat([negative, prompt])
                both = self(latent.repeat(2, 1, 1, 1), timestep.repeat(2), prompts)
                away, towards = both.chunk(2)
        return away + guidance * (towards - away)
