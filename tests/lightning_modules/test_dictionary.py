import copy

import pytest
import torch

from lightning_modules.association import DictionaryAssociationModule
from lightning_modules.dictionary import (
    DictionarySettings,
    DictionaryTraining,
    VQDictionaryModule,
)
from lightning_modules.stepped import StepSettings
from osdface.losses import build_loss
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.discriminators import PatchDiscriminator
from osdface.networks.tiny_perceptual import TinyPerceptualNetwork
from tests.lightning_modules.small import drive, loader, make_batch
from tests.lightning_modules.test_distillation import train
from tests.lightning_modules.test_guards import fit, spoiled

SIZES = VQConfig((8, 16), 1, 32, 16, 8)


def build(start: int, **settings) -> DictionaryTraining:
    perceptual = build_loss("lpips", trunk=TinyPerceptualNetwork((8, 8)))
    discriminator = PatchDiscriminator(filters=8, layers=1)
    chosen = DictionarySettings(discriminator_start=start, **settings)
    return DictionaryTraining(VQAutoencoder(SIZES), discriminator, perceptual, chosen)


def changed(module: torch.nn.Module, before: dict) -> set[str]:
    return {n for n, p in module.named_parameters() if not torch.equal(p, before[n])}


def test_the_discriminator_rests_until_its_start() -> None:
    torch.manual_seed(0)
    module = VQDictionaryModule(build(start=1), StepSettings(1, 1e-2), "lq")
    before = copy.deepcopy(dict(module.named_parameters()))
    train(module)
    assert not any("discriminator" in name for name in changed(module, before))
    module.settings = StepSettings(3, 1e-2)
    module.trainer.should_stop = False
    train(module)
    names = changed(module, before)
    assert any("discriminator" in name for name in names)
    assert any("codebook" in name for name in names)
    assert "loss/gan" in module.logged and not any("perceptual" in name for name in names)


def test_association_counts_earlier_steps_and_learns_its_temperature() -> None:
    torch.manual_seed(0)
    module = DictionaryAssociationModule(
        build(start=5), build(start=50), StepSettings(1, 1e-2), earlier_steps={"hq": 5, "lq": 5}
    )
    before = copy.deepcopy(dict(module.named_parameters()))
    train(module)
    names = changed(module, before)
    assert any("hq.discriminator" in name for name in names)
    assert not any("lq.discriminator" in name for name in names)
    assert any("log_scale" in name for name in names)
    assert "loss/association" in module.logged


def test_dead_entries_are_restarted_on_time() -> None:
    torch.manual_seed(0)
    training = build(99, restart_every=2, restart_idle=2, restart_until=2)
    module = VQDictionaryModule(training, StepSettings(5, 1e-3), "hq")
    restarted = []
    real = training.restart
    training.restart = lambda *a: restarted.append(real(*a)) or restarted[-1]
    train(module, loader())
    assert restarted[2] > 0 and restarted[1] == restarted[3] == restarted[4] == 0


def test_restarts_since_the_last_validation_are_a_figure() -> None:
    torch.manual_seed(0)
    module = VQDictionaryModule(
        build(99, restart_every=2, restart_idle=2, restart_until=9), StepSettings(5, 1e-3), "hq"
    )
    counted = []
    real = module.dictionary.restart
    module.dictionary.restart = lambda *a: counted.append(real(*a)) or counted[-1]
    train(module, loader())
    module.on_validation_epoch_end()
    assert module.validation_metrics["hq/restarted"] == sum(counted) > max(counted) > 0
    module.on_validation_epoch_end()
    assert module.validation_metrics["hq/restarted"] == 0


def test_a_frozen_temperature_is_in_no_optimizer_and_tokens_stay_on_their_rank() -> None:
    torch.manual_seed(0)
    module = DictionaryAssociationModule(
        build(9), build(9), StepSettings(1, 1e-2), learned_temperature=False, gather=False
    )
    before = copy.deepcopy(dict(module.named_parameters()))
    train(module)
    names = changed(module, before)
    assert any("lq.autoencoder" in name for name in names)
    assert not any("log_scale" in name for name in names)
    assert not module.association.gather
    temperature = module.association.temperature.log_scale
    groups = [p for o in module.configure_optimizers() for g in o.param_groups for p in g["params"]]
    assert all(p is not temperature for p in groups)


@pytest.mark.parametrize("kind", ["dictionary", "association"])
def test_what_any_micro_batch_used_is_not_idle(kind: str) -> None:
    def module(accumulate: int) -> VQDictionaryModule | DictionaryAssociationModule:
        torch.manual_seed(0)
        settings = StepSettings(1, 1e-3, accumulate=accumulate)
        parts = [build(9), build(9)]
        for part in parts:
            torch.nn.init.normal_(part.autoencoder.quantizer.codebook)
        if kind == "dictionary":
            return VQDictionaryModule(parts[0], settings, "lq")
        return DictionaryAssociationModule(*parts, settings)

    def idle(accumulate: int, samples: slice) -> list[torch.Tensor]:
        own = drive(module(accumulate))
        whole = make_batch(0, 4)
        whole["lq"][2:], whole["hq"][2:] = 1.0, -1.0  # so few entries that others seem idle
        for part in torch.arange(4)[samples].chunk(accumulate):
            images = {name: whole[name][part] for name in ("lq", "hq")}
            own.training_step(images | {"key": [str(n) for n in part]}, 0)
        buffers = [b for name, b in own.named_buffers() if name.endswith("idle_steps")]
        assert len(buffers) == (1 if kind == "dictionary" else 2)
        return buffers

    everything, last = slice(None), slice(2, None)
    whole, half = idle(1, everything), idle(1, last)
    assert all(map(torch.equal, idle(2, everything), whole))
    assert not all(map(torch.equal, whole, half))


@pytest.mark.parametrize("kind", ["dictionary", "association"])
def test_tokens_of_a_step_that_is_not_finite_replace_no_entry(kind: str) -> None:
    torch.manual_seed(0)
    parts = [build(99, restart_every=1, restart_idle=1, restart_until=9) for _ in range(2)]
    settings = StepSettings(3, 1e-3)
    module: VQDictionaryModule | DictionaryAssociationModule
    module = VQDictionaryModule(parts[0], settings, "lq")
    if kind == "association":
        module = DictionaryAssociationModule(*parts, settings)
    fit(module, [make_batch(0), spoiled(1), make_batch(2)])
    assert module.generator_step == 3 and module.skipped_steps == 1
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
