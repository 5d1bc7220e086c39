"""Variational score distillation: latents are drawn to where the frozen model's are (OSEDiff)."""

from torch import Tensor
from torch.nn import functional as F

from osdface.losses.perceptual import full_precision


def distillation_direction(latent: Tensor, learned: Tensor, frozen: Tensor) -> Tensor:
    """Returns (z_learned - z_frozen) / mean|z - z_frozen|, the mean over each image (R).

    Args:
        latent: The generator's latent z, (B, C, h, w).
        learned: z as the regulariser denoises F(z, t), the same shape.
        frozen: z as the guided frozen model denoises the same F(z, t).
    """
    latent, learned, frozen = (full_precision(each) for each in (latent, learned, frozen))
    size = (latent - frozen).abs().mean(dim=(1, 2, 3), keepdim=True)
    return (learned - frozen) / size.clamp_min(1e-8)


def score_distillation(latent: Tensor, direction: Tensor) -> Tensor:
    """Returns mean(direction^2), a scalar whose gradient at the latent is 2 direction / N (R).

    N is the number of the latents' elements, so the mean over ranks is that of the whole batch.

    Args:
        latent: (B, C, h, w), in the generator's graph.
        direction: What :func:`distillation_direction` returned; no gradient passes it.
    """
    latent = full_precision(latent)
    return F.mse_loss(latent, (latent - direction).detach())


def denoising_loss(predicted: Tensor, noise: Tensor) -> Tensor:
    """Returns the mean squared error of the predicted noise, in float32 at least (R).

    Args:
        predicted: eps(F(z, t), t, prompt), (B, C, h, w).
        noise: What z was noised with, the same shape.
    """
    return F.mse_loss(full_precision(predicted), full_precision(noise))
