"""Gradient norms of the terms at the latent: what they are, and that they change nothing."""

import copy

import pytest
import torch

from lightning_modules.stepped import keyed_generator
from osdface.losses.adversarial import NonSaturating
from osdface.networks.efficiency import Efficiency, apply_efficiency
from tests.lightning_modules.small import build_module, make_batch, step_alone


@pytest.mark.parametrize("recomputed", [False, True])
def test_norms_are_those_of_each_term_alone(recomputed) -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.25, weights={"mse": 2.0, "l1": 0.5}).double()
    batch = make_batch(0)
    batch |= {name: batch[name].double() for name in ("lq", "hq")}
    untouched = copy.deepcopy(module)
    if recomputed:
        switches = Efficiency(checkpoint_unet=True, checkpoint_decoder=True)
        apply_efficiency(switches, module.generator, module.losses, module.discriminator)
    module.log_gradients_every = 2
    step_alone(module, batch)

    generator = untouched.generator
    latent = generator(batch["lq"]).latent.detach().requires_grad_()
    prompt = generator.prompt_source(batch["lq"]).detach()
    timesteps, noises = [], []
    for key in batch["key"]:
        source = keyed_generator(0, 0, key)
        timesteps.append(torch.randint(1000, (1,), generator=source))
        noises.append(torch.randn(latent.shape[1:], generator=source).double())
    timestep, noise = torch.cat(timesteps), torch.stack(noises)
    alpha = generator.alphas_cumprod[timestep].view(-1, 1, 1, 1)
    noised = alpha.sqrt() * latent + (1 - alpha).sqrt() * noise
    difference = generator.codec.decode(latent) - batch["hq"]
    wanted = {
        "mse": 2.0 * difference.square().mean(),
        "l1": 0.5 * difference.abs().mean(),
        "gan": 0.25 * NonSaturating().generator(untouched.discriminator(noised, timestep, prompt)),
    }
    for name, loss in wanted.items():
        latent.grad = None
        loss.backward(retain_graph=True)
        found = module.logged[f"loss/{name}/latent_gradient"]
        assert found == pytest.approx(float(latent.grad.norm()), rel=1e-5), name


def test_asking_changes_no_bit_and_is_off_by_default() -> None:
    torch.manual_seed(0)
    silent = build_module(gan=0.1)
    asked = copy.deepcopy(silent)
    asked.log_gradients_every = 2
    for step in range(2):
        for module in (silent, asked):
            module.logged.clear()
            step_alone(module, make_batch(step))
        found = [key for key in asked.logged if key.endswith("latent_gradient")]
        assert len(found) == (2 if step == 0 else 0)
        assert set(asked.logged) - set(found) == set(silent.logged)
    for (name, p), q in zip(silent.named_parameters(), asked.parameters(), strict=True):
        assert torch.equal(p, q), name
