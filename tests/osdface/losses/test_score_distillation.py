"""Score distillation against the equations written out, element by element, in float64."""

import pytest
import torch

from osdface.losses.score_distillation import (
    denoising_loss,
    distillation_direction,
    score_distillation,
)


def latents(seed: int, shape: tuple[int, ...] = (3, 2, 4, 5)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_gradient_is_the_published_one_element_by_element() -> None:
    z, learned, frozen = (latents(seed) for seed in range(3))
    z.requires_grad_()
    # The direction may not be a way for the gradient, even where it depends on z.
    direction = distillation_direction(z, 0.5 * z + learned, 0.2 * z + frozen)
    loss = score_distillation(z, direction)
    loss.backward()
    batch, channels, height, width = z.shape
    count, total = batch * channels * height * width, 0.0
    for b in range(batch):
        places = [(c, y, x) for c in range(channels) for y in range(height) for x in range(width)]
        point, other = z.detach()[b], (0.2 * z.detach() + frozen)[b]
        size = sum(abs(float(point[p] - other[p])) for p in places) / len(places)
        for p in places:
            wanted = float((0.5 * point + learned[b])[p] - other[p]) / size
            total += wanted**2
            assert float(z.grad[b][p]) == pytest.approx(2 * wanted / count, rel=1e-12)
    assert float(loss.detach()) == pytest.approx(total / count, rel=1e-12)


def test_a_regulariser_that_agrees_gives_nothing() -> None:
    z, frozen = latents(0), latents(1)
    assert not distillation_direction(z, frozen, frozen).any()
    # Not even where the latent is what both predict.
    assert not distillation_direction(z, z, z).any()


def test_half_precision_is_computed_in_float32() -> None:
    z, learned, frozen = (latents(seed).bfloat16() for seed in range(3))
    direction = distillation_direction(z, learned, frozen)
    assert direction.dtype == torch.float32
    exact = distillation_direction(z.double(), learned.double(), frozen.double())
    torch.testing.assert_close(direction, exact.float())
    assert denoising_loss(learned, frozen).dtype == torch.float32


def test_denoising_loss_is_the_mean_square() -> None:
    one, other = latents(0), latents(1)
    pairs = zip(one.flatten(), other.flatten(), strict=True)
    wanted = sum((float(a) - float(b)) ** 2 for a, b in pairs) / one.numel()
    assert float(denoising_loss(one, other)) == pytest.approx(wanted, rel=1e-12)
