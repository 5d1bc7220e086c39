"""``trainer.precision=bf16-mixed``: what cancels or divides by little stays in float32."""

from typing import Any

import lightning as L
import pytest
import torch

from lightning_modules import distillation
from osdface.losses import WeightedLosses, build_loss
from osdface.networks import generator as generator_file
from osdface.networks.identity import load_identity
from osdface.networks.perceptual import load_trunk
from tests.lightning_modules.small import build_module, make_batch

WEIGHTS = {"mse": 1.0, "ea_dists": 0.5, "identity": 0.3}


def lossy_module(**options: Any) -> distillation.OneStepDistillationModule:
    """A small module whose losses run on the shipped stand-in networks."""
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=1, **options)
    module.losses = WeightedLosses(WEIGHTS, load_trunk("tiny"), load_identity("tiny_a"))
    return module


def fit(module: L.LightningModule, precision: Any) -> None:
    trainer = L.Trainer(
        accelerator="cpu", precision=precision, max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader([make_batch(0)], batch_size=None))


@pytest.fixture
def seen(monkeypatch) -> dict[str, Any]:
    """What a step under bf16 autocast was made of: division, networks of the losses, UNet."""
    module, found = lossy_module(), {"dtypes": {}}

    def note(name: str) -> Any:
        def hook(part: Any, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, list | tuple) else output
            dtypes = {inputs[0].dtype, first.dtype}
            found["dtypes"].setdefault(name, set()).update(dtypes)

        return hook

    def divided(latent: Any, noise: Any, alpha: Any) -> Any:
        result = real(latent, noise, alpha)
        found["division"] = (latent.detach(), noise.detach(), alpha, result.detach())
        return result

    real = generator_file.predicted_original
    monkeypatch.setattr(generator_file, "predicted_original", divided)
    losses: Any = module.losses.losses
    for part in losses["ea_dists"].modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(note("dists"))
    for part in losses["identity"].modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            part.register_forward_hook(note("identity"))
    module.generator.unet.conv_in.register_forward_hook(
        lambda part, inputs, output: found.update(unet=output.dtype)
    )
    module.losses.register_forward_hook(
        lambda part, inputs, terms: found.update(
            image=inputs[0].detach(), target=inputs[1], terms=terms
        )
    )
    fit(module, "bf16-mixed")
    found["module"] = module
    return found


def test_division_dists_and_identity_run_in_float32_under_bf16(seen) -> None:
    assert seen["unet"] == torch.bfloat16  # the step did run in mixed precision
    assert seen["dtypes"] == {"dists": {torch.float32}, "identity": {torch.float32}}
    assert seen["division"][3].dtype == torch.float32
    assert {term.dtype for term in seen["terms"].values()} == {torch.float32}


def test_their_values_are_those_of_float64_on_the_same_inputs(seen) -> None:
    latent, noise, alpha, result = seen["division"]
    exact = (latent.double() - (1 - alpha).sqrt() * noise.double()) / alpha.sqrt()
    torch.testing.assert_close(result.double(), exact, atol=1e-5, rtol=1e-5)
    trunk, identity = load_trunk("tiny").double(), load_identity("tiny_a").double()
    for name in ("ea_dists", "identity"):
        loss = build_loss(name, trunk, identity).double()
        wanted = loss(seen["image"].double(), seen["target"].double())
        torch.testing.assert_close(seen["terms"][name].double(), wanted, atol=1e-5, rtol=1e-4)


def test_a_mixed_step_is_close_to_a_full_one(seen) -> None:
    full = lossy_module()
    fit(full, "32-true")
    for name, value in full.logged.items():
        if name.startswith("loss/") and name.endswith("/raw"):
            assert seen["module"].logged[name] == pytest.approx(value, rel=0.05, abs=5e-3), name
    for name, parameter in seen["module"].named_parameters():
        assert parameter.dtype == torch.float32 and torch.isfinite(parameter).all(), name
