"""Switches that make a step cheaper leave its numbers as they are."""

import copy
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch.nn import functional as F

from lightning_modules.distillation import OneStepDistillationModule
from osdface.checkpoints.export import save_restorer
from osdface.errors import UserError
from osdface.losses import WeightedLosses
from osdface.networks.efficiency import Efficiency, apply_efficiency
from osdface.networks.tiny_perceptual import TinyPerceptualNetwork
from tests.lightning_modules.small import build_module, make_batch, step_alone

TERMS = {"mse": 1.0, "lpips": 0.5}


@pytest.fixture(scope="module")
def plain() -> OneStepDistillationModule:
    """A module with every kind of part, its LoRA not zero any more."""
    torch.manual_seed(0)
    module = build_module(gan=0.1)
    trunk = TinyPerceptualNetwork((4, 4)).requires_grad_(False).eval()
    module.losses = WeightedLosses(TERMS, lpips_trunk=trunk)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return module


def stepped(
    plain: OneStepDistillationModule, precision: torch.dtype = torch.float64, **switches: Any
) -> OneStepDistillationModule:
    """Returns a copy after one step under these switches.

    In float64: Adam's first step divides a gradient by its own size, however small it is.
    """
    half = precision == torch.bfloat16
    module = copy.deepcopy(plain).to(torch.float32 if half else precision)
    module.efficiency = Efficiency(**switches)
    apply_efficiency(module.efficiency, module.generator, module.losses, module.discriminator)
    batch = make_batch(0)
    batch |= {name: batch[name].to(precision) for name in ("lq", "hq") if not half}
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return step_alone(module, batch)


@pytest.fixture(scope="module")
def reference(plain) -> OneStepDistillationModule:
    """After one step with every switch off."""
    return stepped(plain)


def assert_same(one: Any, other: Any) -> None:
    """Terms and gradient norms to 1e-5, parameters after a step of rate 1e-2 to 1e-6."""
    for key, value in one.logged.items():
        assert other.logged[key] == pytest.approx(value, rel=1e-5), key
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize(
    "switches",
    [
        {"checkpoint_unet": True, "checkpoint_decoder": True},
        {"channels_last": True},
        {"fused_adam": True},
        {"share_encodes": False},
    ],
    ids=lambda value: next(iter(value)),
)
def test_numbers_of_a_step_stay(reference, plain, switches) -> None:
    assert_same(reference, stepped(plain, **switches))


def test_frozen_weights_as_autocast_has_them_change_no_bit(plain) -> None:
    whole = stepped(plain, torch.bfloat16)
    half = stepped(plain, torch.bfloat16, frozen_dtype="bfloat16")
    for (name, p), q in zip(whole.named_parameters(), half.parameters(), strict=True):
        if p.requires_grad:
            assert torch.equal(p, q) and q.dtype == torch.float32, name
    kinds = {p.dtype for p in half.generator.unet.parameters() if not p.requires_grad}
    assert kinds == {torch.float32, torch.bfloat16}  # norms stay
    own = {id(p) for p in half.generator.unet.parameters()}
    shared = [p for p in half.discriminator.encoder.parameters() if not p.requires_grad]
    assert shared and all(id(parameter) in own for parameter in shared)


@pytest.mark.slow  # tracing takes a minute
@pytest.mark.parametrize("parts", [("unet",), ("vae", "losses"), ("discriminator",)])
def test_compiled_parts_give_the_same_numbers(reference, plain, parts, monkeypatch) -> None:
    """Tracing and its two graphs, of LoRA too; the generated kernels are inductor's own matter."""
    compiled: list[Any] = []

    def traced(self: torch.nn.Module, **_: Any) -> None:
        self._compiled_call_impl = torch.compile(self._call_impl, backend="aot_eager")
        compiled.append(self)

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    torch._dynamo.reset()
    found = stepped(plain, compile=parts)
    assert_same(reference, found)
    assert len(compiled) == {"unet": 1, "vae": 4, "discriminator": 1}[parts[0]]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert [n for n, _ in found.named_parameters()] == [n for n, _ in plain.named_parameters()]


def test_sdpa_is_what_diffusers_calls_unless_switched_off(reference, plain, monkeypatch) -> None:
    calls = []
    real = F.scaled_dot_product_attention

    def counted(*args: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        return real(*args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    stepped(plain)
    assert calls
    calls.clear()
    module = stepped(plain, attention="plain")
    assert not calls
    for key, value in reference.logged.items():  # the VAE's plain attention has a float32 softmax
        assert module.logged[key] == pytest.approx(value, rel=1e-5), key
    assert all(isinstance(p, AttnProcessor) for p in module.generator.unet.attn_processors.values())


def test_checkpointing_keeps_less_for_the_backward_pass(plain) -> None:
    def kept(**switches: Any) -> int:
        module = copy.deepcopy(plain)
        apply_efficiency(Efficiency(**switches), module.generator, None, module.discriminator)
        sizes: dict[int, int] = {}

        def keep(x: torch.Tensor) -> torch.Tensor:
            sizes[x.data_ptr()] = x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            module.generator(make_batch(0)["lq"])
        return sum(sizes.values())

    assert kept(checkpoint_unet=True, checkpoint_decoder=True) < 0.6 * kept()


def test_exports_after_channels_last(plain, tmp_path) -> None:
    module = stepped(plain, channels_last=True)
    lora = {"rank": 4, "alpha": 4, "targets": ["to_q"]}
    save_restorer(tmp_path / "e", module.generator, lora, {"path": "", "fingerprint": "a"}, {})
    assert (tmp_path / "e/pytorch_lora_weights.safetensors").stat().st_size > 0


@pytest.mark.parametrize(
    "wrong", [{"attention": "flash"}, {"compile": ("decoder",)}, {"frozen_dtype": "int8"}]
)
def test_unknown_words_are_a_sentence(wrong) -> None:
    with pytest.raises(UserError, match=rf"efficiency\.{next(iter(wrong))} knows"):
        Efficiency(**wrong)


def test_compiling_without_a_compiler_is_a_sentence(plain, monkeypatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        apply_efficiency(Efficiency(compile=("unet",)), copy.deepcopy(plain).generator)
