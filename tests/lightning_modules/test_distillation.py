import copy
from typing import Any

import lightning as L
import pytest
import torch

from lightning_modules.critics import Draws
from lightning_modules.stepped import StepSettings, keyed_generator
from osdface.errors import UserError
from osdface.losses.adversarial import Hinge
from tests.lightning_modules.small import build_module, loader, make_batch


def train(module: Any, data: Any = None) -> Any:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(module, loader() if data is None else data)
    return module


def test_a_step_changes_exactly_the_trainable_parameters() -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=2)
    before = copy.deepcopy(dict(module.named_parameters()))
    train(module)
    changed = {n for n, p in module.named_parameters() if not torch.equal(p, before[n])}
    trainable = {n for n, p in module.named_parameters() if p.requires_grad}
    assert changed == trainable
    assert module.generator_step == 2 and module.trainer.global_step == 4


def test_terms_are_logged_raw_and_weighted_and_sum_to_the_total() -> None:
    module = train(build_module(gan=0.25, steps=1, weights={"mse": 2.0, "l1": 0.5}))
    logged = module.logged
    for term, weight in (("mse", 2.0), ("l1", 0.5), ("gan", 0.25)):
        raw = logged[f"loss/{term}/raw"]
        assert logged[f"loss/{term}/weighted"] == pytest.approx(weight * raw, rel=1e-5)
    total = sum(logged[f"loss/{t}/weighted"] for t in ("mse", "l1", "gan"))
    assert logged["loss/total"] == pytest.approx(total, rel=1e-5)


def test_both_updates_share_noise_that_depends_on_key_and_step_alone() -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.1)
    batch = make_batch(0, size=3)
    restored = module.generator(batch["lq"])
    latent = torch.randn_like(restored.latent)
    alphas, look = module.generator.alphas_cumprod, module.critics[0].look
    whole = look(restored, latent, alphas, Draws(0, 0, batch["key"]))
    one = copy.copy(restored)
    one.latent, one.prompt = restored.latent[2:], restored.prompt[2:]
    alone = look(one, latent[2:], alphas, Draws(0, 0, batch["key"][2:]))
    torch.testing.assert_close(whole.fake[2:], alone.fake)
    torch.testing.assert_close(whole.timestep[2:], alone.timestep)
    # Fake and real carry the same noise: their difference is that of the latents.
    alpha = alphas[whole.timestep].float().view(-1, 1, 1, 1)
    expected = alpha.sqrt() * (restored.latent - latent)
    torch.testing.assert_close(whole.fake - whole.real, expected, atol=1e-5, rtol=1e-4)
    later = look(restored, latent, alphas, Draws(0, 1, batch["key"]))
    assert not torch.equal(later.fake, whole.fake)


def test_accumulated_micro_batches_equal_one_batch() -> None:
    torch.manual_seed(0)
    # float64: Adam's first step divides a gradient by its own size, however small it is.
    whole = build_module(steps=1).double()
    parts = copy.deepcopy(whole)
    parts.settings = StepSettings(1, 1e-2, accumulate=2)
    batch = make_batch(0, size=4)
    batch |= {name: batch[name].double() for name in ("lq", "hq")}
    halves = [{k: v[i : i + 2] for k, v in batch.items()} for i in (0, 2)]
    train(whole, torch.utils.data.DataLoader([batch], batch_size=None))
    train(parts, torch.utils.data.DataLoader(halves, batch_size=None))
    assert parts.generator_step == 1
    other = dict(parts.named_parameters())
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parameter, other[name], atol=1e-6, rtol=1e-4)


def test_non_finite_step_is_skipped_counted_and_named(capsys) -> None:
    torch.manual_seed(0)
    module = build_module(steps=3)
    batches = [make_batch(n) for n in range(3)]
    batches[1]["lq"] = batches[1]["lq"] * float("nan")
    train(module, torch.utils.data.DataLoader(batches, batch_size=None))
    assert module.skipped_steps == 1 and module.generator_step == 3
    assert "1-0, 1-1" in capsys.readouterr().out
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_too_many_skipped_steps_stop_the_training() -> None:
    module = build_module(steps=5, max_skipped=2)
    bad = make_batch(0)
    bad["lq"] = bad["lq"] * float("nan")
    with pytest.raises(UserError, match="2 updates in a row"):
        train(module, torch.utils.data.DataLoader([bad] * 5, batch_size=None))


def test_schedules() -> None:
    warm = StepSettings(100, 1.0, warmup_steps=10)
    assert [warm.rate_factor(s) for s in (0, 4, 9, 50)] == [0.1, 0.5, 1.0, 1.0]
    cosine = StepSettings(100, 1.0, schedule="cosine")
    assert cosine.rate_factor(0) == 1.0
    assert cosine.rate_factor(50) == pytest.approx(0.505)
    assert cosine.rate_factor(100) == pytest.approx(0.01)


def test_keyed_generator_is_a_function_of_its_arguments() -> None:
    draw = [torch.randn(4, generator=keyed_generator(*a)) for a in ((0, 1, "a"), (0, 1, "a"))]
    assert torch.equal(*draw)
    for other in ((1, 1, "a"), (0, 2, "a"), (0, 1, "b")):
        assert not torch.equal(draw[0], torch.randn(4, generator=keyed_generator(*other)))


def test_sampled_latents_depend_on_key_and_step_alone_with_and_without_discriminator() -> None:
    torch.manual_seed(0)
    with_gan, without = build_module(gan=0.1), build_module()
    without.generator = with_gan.generator
    batch = make_batch(0, size=3)
    mode = without._encode(batch)[0]
    with_gan.sample_latent = without.sample_latent = True
    degraded, latent = with_gan._encode(batch)
    assert not torch.allclose(degraded, mode, atol=1e-3)
    torch.testing.assert_close(without._encode(batch)[0], degraded)
    last = {key: value[2:] for key, value in batch.items()}
    torch.testing.assert_close(with_gan._encode(last)[0], degraded[2:])
    assert not torch.allclose(latent, degraded, atol=1e-3)
    with_gan.generator_step = 1
    assert not torch.allclose(with_gan._encode(batch)[0], degraded, atol=1e-3)


def test_sampled_latents_have_the_posterior_s_mean_and_deviation() -> None:
    torch.manual_seed(0)
    codec = build_module().generator.codec
    images = make_batch(0)["hq"]
    posterior = codec.vae.encode(images).latent_dist
    noise = torch.randn(2, *codec.latent_shape(images))
    wanted = (posterior.mean + torch.exp(0.5 * posterior.logvar) * noise) * codec.scaling_factor
    torch.testing.assert_close(codec.encode(images, noise), wanted)


@pytest.mark.parametrize("kind", ["unet", "patch"])
def test_frozen_parts_have_no_gradient_no_optimizer_state_and_the_same_bits(kind) -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=2, kind=kind)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert all("lora_" in n or ".convs." in n or "discriminator." in n for n in trained)
    train(module)
    for name, parameter in module.named_parameters():
        assert name in trained or (parameter.grad is None and not parameter.requires_grad), name
    optimizers = [optimizer.optimizer for optimizer in module.optimizers()]
    held = [p for each in optimizers for group in each.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in trained.values()}
    assert {id(p) for each in optimizers for p in each.state} == {id(p) for p in held}
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in trained), name


def test_hinge_takes_a_step() -> None:
    torch.manual_seed(0)
    module = build_module(gan=0.1, steps=1)
    module.critics[0].adversarial = Hinge()
    before = copy.deepcopy(module.discriminator)
    train(module)
    assert module.logged["loss/discriminator"] == pytest.approx(1, abs=0.5)
    pairs = zip(module.discriminator.parameters(), before.parameters(), strict=True)
    assert any(not torch.equal(p, q) for p, q in pairs)
