"""Score distillation and the discriminator as critics of one generator."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.critics import Draws, ScoreDistillation
from lightning_modules.distillation import OneStepDistillationModule
from lightning_modules.stepped import keyed_generator
from osdface.networks.adaptation import without_lora
from osdface.networks.efficiency import Efficiency, apply_efficiency
from osdface.networks.lora import merge_lora
from tests.lightning_modules.small import make_batch, step_alone
from tests.lightning_modules.small_osediff import build_osediff
from tests.lightning_modules.test_distillation import train

ROOT = Path(__file__).resolve().parents[2]


def double_batch(size: int = 2, number: int = 0) -> dict[str, Any]:
    batch = make_batch(number, size)
    return batch | {name: batch[name].double() for name in ("lq", "hq")}


def denoised(unet: Any, z: Tensor, t: int, prompt: Tensor, a: float, eps: Tensor) -> Tensor:
    """z_0 that a UNet sees in one noised latent (C, h, w), by the scalar formula."""
    noise = eps if unet is None else unet(z[None], t, encoder_hidden_states=prompt[None]).sample[0]
    return (z - (1 - a) ** 0.5 * noise) / a**0.5


@torch.no_grad()
def naive_gradient(module: OneStepDistillationModule, latent: Tensor, keys: list[str]) -> Tensor:
    """The published gradient of the distillation, one image after the other, two separate UNets."""
    regulariser = copy.deepcopy(module.regulariser)
    negative = regulariser.negative_prompt
    with without_lora(regulariser.unet):
        frozen = copy.deepcopy(regulariser.unet)
    for layer in list(frozen.modules()):  # without its adapters for good
        for name, child in list(layer.named_children()):
            if hasattr(child, "lora_A"):
                setattr(layer, name, child.base_layer)
    learned = merge_lora(regulariser.unet)
    alphas, prompt = module.generator.alphas_cumprod, module.generator.prompt_source.prompt
    gradient = torch.zeros(latent.shape, dtype=latent.dtype)
    for index, key in enumerate(keys):
        source = keyed_generator(0, 0, f"{key}/vsd")
        t = int(torch.randint(20, 980, (1,), generator=source))
        eps = torch.randn(latent.shape[1:], generator=source).double()
        z, a = latent[index], float(alphas[t])
        noised = a**0.5 * z + (1 - a) ** 0.5 * eps
        away = frozen(noised[None], t, encoder_hidden_states=negative[None]).sample[0]
        towards = frozen(noised[None], t, encoder_hidden_states=prompt[None]).sample[0]
        guided = denoised(None, noised, t, prompt, a, away + 7.5 * (towards - away))
        own = denoised(learned, noised, t, prompt, a, eps)
        size = sum(abs(float(v)) for v in (z - guided).flatten()) / z.numel()
        for place, value in enumerate(((own - guided) / size).flatten()):
            gradient[index].view(-1)[place] = 2 * float(value) / latent.numel()
    return gradient


def test_gradient_equals_a_loop_over_images_with_two_unets() -> None:
    torch.manual_seed(0)
    module = build_osediff().double()
    (critic,) = module.critics
    batch = double_batch(3)
    restored = module.generator(batch["lq"])
    restored.latent = restored.latent.detach().requires_grad_()
    draws = Draws(0, 0, batch["key"])
    seen = critic.look(restored, restored.latent, module.generator.alphas_cumprod, draws)
    term = critic.generator_term(seen)
    term.backward()
    wanted = naive_gradient(module, restored.latent.detach(), batch["key"])
    torch.testing.assert_close(restored.latent.grad, wanted, rtol=1e-8, atol=1e-14)
    # Neither UNet gets one, and the value is the mean square of what it is the gradient of.
    assert all(parameter.grad is None for parameter in module.regulariser.parameters())
    half = wanted * wanted.numel() / 2
    assert float(term.detach()) == pytest.approx(float(half.square().mean()), rel=1e-8)


def test_the_regulariser_learns_detached_latents_alone() -> None:
    torch.manual_seed(0)
    module = build_osediff().double()
    (critic,) = module.critics
    batch = double_batch()
    restored = module.generator(batch["lq"])
    draws = Draws(0, 0, batch["key"])
    seen = critic.look(restored, restored.latent, module.generator.alphas_cumprod, draws)
    loss, _ = critic.own_loss(seen)
    loss.backward()
    assert all(parameter.grad is None for parameter in module.generator.parameters())
    lora = [p for n, p in module.regulariser.named_parameters() if "lora_" in n]
    assert lora and all(p.requires_grad == (p.grad is not None) for p in lora)
    # The diffusion loss, image by image.
    total, alphas = 0.0, module.generator.alphas_cumprod
    prompt = module.generator.prompt_source.prompt
    for z, key in zip(restored.latent.detach(), batch["key"], strict=True):
        source = keyed_generator(0, 0, f"{key}/regulariser")
        t = int(torch.randint(0, 1000, (1,), generator=source))
        eps, a = torch.randn(z.shape, generator=source).double(), float(alphas[t])
        noised = a**0.5 * z + (1 - a) ** 0.5 * eps
        predicted = module.regulariser.unet(noised[None], t, encoder_hidden_states=prompt[None])
        total += float((predicted.sample[0] - eps).square().mean().detach()) / 2
    assert float(loss.detach()) == pytest.approx(total, rel=1e-8)


def test_a_step_with_three_optimizers_changes_exactly_what_is_trained() -> None:
    torch.manual_seed(0)
    module = build_osediff(gan=0.1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    train(module)
    assert module.generator_step == 2 and module.trainer.global_step == 6
    changed = {n for n, t in module.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == trained
    starts = (
        "generator.unet.",
        "generator.codec.vae.encoder.",
        "discriminator.",
        "regulariser.unet.",
    )
    for start in (*starts, "generator.unet.conv_in.weight", "generator.codec.vae.quant_conv."):
        assert any(name.startswith(start) for name in trained), start
    assert not any(n.startswith("regulariser.") and "lora_" not in n for n in trained)
    # Each optimizer holds what is its own.
    names = {id(p): n for n, p in module.named_parameters()}
    for optimizer, part in zip(
        module.optimizers(), ("generator", "discriminator", "regulariser"), strict=True
    ):
        held = {names[id(p)] for group in optimizer.optimizer.param_groups for p in group["params"]}
        assert held == {n for n in trained if n.startswith(f"{part}.")}
    for term in ("mse", "gan", "vsd"):
        assert f"loss/{term}/raw" in module.logged and f"loss/{term}/weighted" in module.logged
    for part in ("generator", "discriminator", "regulariser"):
        assert module.logged[f"gradient_norm/{part}"] > 0


def test_weights_of_the_base_are_shared_not_copied() -> None:
    module = build_osediff(gan=0.1)
    owners: dict[int, int] = {}
    for parameter in module.parameters():
        owners[id(parameter)] = parameter.numel()
    lone = build_osediff(gan=0.0, vsd=0.0)
    frozen = [p for p in module.parameters() if not p.requires_grad]
    # conv_in of the generator is its own; the critics keep the base's.
    own = sum(p.numel() for p in lone.generator.unet.conv_in.parameters())
    assert sum(p.numel() for p in frozen) == own + sum(
        p.numel() for p in lone.parameters() if not p.requires_grad
    )


def test_hq_latents_are_the_frozen_encoder_s() -> None:
    torch.manual_seed(0)
    module = build_osediff(gan=0.1, vsd=0.0)
    batch = make_batch(0)
    degraded, target = module._encode(batch)
    codec = module.generator.codec
    assert degraded.requires_grad and not target.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(batch["lq"]), degraded.detach())
        assert not torch.allclose(codec.encode(batch["hq"]), target, atol=1e-3)
        with without_lora(codec.vae):
            torch.testing.assert_close(codec.encode(batch["hq"]), target)


def test_efficiency_leaves_the_step_as_it_is() -> None:
    torch.manual_seed(0)
    plain = build_osediff(gan=0.1).double()
    found = []
    for switches in ({}, {"checkpoint_unet": True, "checkpoint_decoder": True}):
        module = copy.deepcopy(plain)
        module.efficiency = Efficiency(**switches)
        networks = (module.generator, module.losses, module.discriminator)
        apply_efficiency(module.efficiency, *networks, regulariser=module.regulariser)
        found.append(step_alone(module, double_batch()))
    for name, value in found[0].logged.items():
        assert found[1].logged[name] == pytest.approx(value, rel=1e-6), name
    other = dict(found[1].named_parameters())
    for name, parameter in found[0].named_parameters():
        torch.testing.assert_close(parameter, other[name], atol=1e-6, rtol=1e-6)


def test_frozen_unet_in_low_precision_has_no_gradient() -> None:
    torch.manual_seed(0)
    module = build_osediff()
    settings = Efficiency(frozen_dtype="bfloat16")
    apply_efficiency(
        settings, module.generator, module.losses, None, regulariser=module.regulariser
    )
    weight = module.regulariser.unet.conv_in.weight
    assert weight.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        step_alone(module, make_batch(0))
    assert torch.isfinite(torch.tensor(module.logged["loss/vsd/raw"]))
    for parameter in module.regulariser.parameters():
        assert parameter.requires_grad or parameter.grad is None
        assert parameter.dtype == torch.float32 or not parameter.requires_grad


def test_prompts_of_another_length_than_the_negative_one() -> None:
    """A VRE's prompt may have other rows than the base's empty caption."""
    torch.manual_seed(0)
    module = build_osediff().double()
    network, latent, t = (
        module.regulariser,
        torch.randn(2, 4, 8, 8).double(),
        torch.tensor([3, 500]),
    )
    short = network.negative_prompt.expand(2, -1, -1)
    long = torch.cat([short, short], 1)  # attention over repeated rows is the same
    torch.testing.assert_close(
        network.frozen(latent, t, long, 7.5), network.frozen(latent, t, short, 7.5)
    )


SCRIPT = """
import sys, torch, lightning as L
sys.path.insert(0, {root!r})
torch.use_deterministic_algorithms(True)
from lightning.pytorch.strategies import DDPStrategy
from tests.lightning_modules.small_osediff import build_osediff
from tests.lightning_modules.test_critics import double_batch
torch.manual_seed(0)
module = build_osediff(gan=0.1, steps=1).double()
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy=DDPStrategy(find_unused_parameters=True),
    max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    limit_val_batches=0,
)
rank, batch = trainer.global_rank, double_batch(4)
own = {{k: v[2 * rank : 2 * rank + 2] for k, v in batch.items()}}
trainer.fit(module, torch.utils.data.DataLoader([own], batch_size=None))
state = {{n: p.detach() for n, p in module.named_parameters() if p.requires_grad}}
norms = {{k: v for k, v in module.logged.items() if k.startswith("gradient_norm/")}}
torch.save({{"state": state, "norms": norms}}, {out!r} + f"/{{rank}}.pt")
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_both_batches(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), out=str(tmp_path)))
    environment = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    subprocess.run([sys.executable, script], check=True, timeout=300, env=environment)
    torch.manual_seed(0)
    whole = step_alone(build_osediff(gan=0.1, steps=1).double(), double_batch(4))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in ranks[0]["norms"].items():
        assert whole.logged[name] == pytest.approx(value, rel=1e-8), name
    assert len(ranks[0]["norms"]) == 3
    for name, parameter in whole.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(ranks[0]["state"][name], ranks[1]["state"][name]), name
            torch.testing.assert_close(ranks[0]["state"][name], parameter, rtol=1e-5, atol=1e-7)


def test_guidance_of_one_is_the_prompt_alone() -> None:
    torch.manual_seed(0)
    module = build_osediff().double()
    network = module.regulariser
    latent, t = torch.randn(2, 4, 8, 8).double(), torch.tensor([3, 500])
    prompt = module.generator.prompt_source.prompt.expand(2, -1, -1)
    with torch.no_grad(), without_lora(network.unet):
        wanted = network(latent, t, prompt)
    torch.testing.assert_close(network.frozen(latent, t, prompt, 1.0), wanted)
    assert isinstance(module.critics[0], ScoreDistillation)
