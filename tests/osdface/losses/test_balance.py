"""Gradient norms at the latent against differences of the loss itself."""

import torch

from osdface.losses.balance import latent_gradient_norms


def test_norms_are_those_of_central_differences() -> None:
    torch.manual_seed(0)
    latent = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, dtype=torch.float64)

    def terms(z: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sine": 3 * (z * weight).sin().sum(), "square": 0.1 * z.square().mean()}

    inner = latent * 1.0  # a latent is the result of something
    found = latent_gradient_norms(terms(inner), inner)
    for name, norm in found.items():
        total, step = 0.0, 1e-5
        for index in range(latent.numel()):
            shift = torch.zeros_like(latent).flatten()
            shift[index] = step
            moved = (terms(latent.detach() + s * shift.view_as(latent))[name] for s in (1, -1))
            up, down = (float(value) for value in moved)
            total += ((up - down) / (2 * step)) ** 2
        torch.testing.assert_close(float(norm), total**0.5, rtol=1e-6, atol=0)
    assert latent.grad is None
