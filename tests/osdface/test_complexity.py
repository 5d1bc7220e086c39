"""Counts against hooks on every layer and against formulas written out by hand."""

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from experiments.cli.compose import compose_words, plain
from osdface.complexity import (
    Macs,
    count_lora,
    count_macs,
    count_parameters,
    count_parts,
    count_text_encoder,
)
from osdface.networks.adaptation import Adaptation, encoder_targets
from osdface.networks.autoencoder import VQConfig
from osdface.networks.base import build_base
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import DEFAULT_TARGETS
from osdface.networks.prompts import FixedPrompt
from tests.osdface.conftest import UNET, VAE, VQ


def small_generator(device: str = "cpu") -> OneStepGenerator:
    with torch.device(device):
        base = build_base(UNET, VAE)
        embedder = VisualRepresentationEmbedder(VQ, 7)
        return OneStepGenerator(base, VisualPrompt(embedder, PromptConvs(16, 8, 12)))


def naive_macs(model: nn.Module, run: Any) -> tuple[int, int]:
    """MACs of layers and of attention products, by forward hooks on leaves and attention blocks."""
    layers, attention = 0, 0

    def layer(module: Any, inputs: Any, output: Tensor) -> None:
        nonlocal layers
        if isinstance(module, nn.Linear):
            layers += output.numel() * module.in_features
        else:  # one product for each weight that an output value sees
            layers += output.numel() * module.weight[0].numel()

    def products(module: Attention, arguments: Any, named: Any, output: Tensor) -> None:
        nonlocal attention
        hidden = arguments[0] if arguments else named["hidden_states"]
        context = named.get("encoder_hidden_states")
        queries = hidden.shape[2:].numel() if hidden.ndim == 4 else hidden.shape[1]
        keys = queries if context is None else context.shape[1]
        attention += 2 * hidden.shape[0] * queries * keys * module.inner_dim

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            hooks.append(module.register_forward_hook(layer))
        elif isinstance(module, Attention):
            hooks.append(module.register_forward_hook(products, with_kwargs=True))
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return layers, attention


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_part_agrees_with_hooks_on_its_layers(device) -> None:
    found = count_parts(small_generator(device), 16)
    generator = small_generator()
    image, latent = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 8, 8)
    prompt, entries = torch.zeros(1, 7, 12), torch.zeros(1, 7, 16)
    source: Any = generator.prompt_source
    runs = {
        "vae_encoder": lambda: generator.codec.encode(image),
        "vae_decoder": lambda: generator.codec.decode(latent),
        "unet": lambda: generator.restore_latent(latent, prompt),
        "vre_encoder": lambda: source.embedder.tokens(image),
        "prompt_convs": lambda: source.convs(entries),
    }
    for name, run in runs.items():
        layers, attention = naive_macs(generator, run)
        assert layers > 0 and (attention > 0) == (name != "prompt_convs"), name
        assert found[name].macs_without_attention == layers, name
        assert found[name].macs == layers + attention, name
    # 8 x 8 tokens of the VRE against 32 entries of 16 channels.
    assert found["vre_lookup"].macs == 8 * 8 * 32 * 16


def test_parameters_are_each_counted_once_and_none_is_lost() -> None:
    generator = small_generator()
    parts = count_parts(generator, 16)
    assert sum(part.params for part in parts.values()) == sum(
        parameter.numel() for parameter in generator.parameters()
    )
    assert parts["prompt_convs"].trainable == 16 * 8 + 8 + 8 * 12 + 12
    shared = nn.Linear(3, 2)
    assert count_parameters([shared, nn.Sequential(shared), shared.weight, None]) == 8


def test_hand_formulas() -> None:
    conv, image = nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.zeros(1, 3, 16, 16)
    assert count_macs(conv, image) == Macs(8 * 8 * 8 * 3 * 9, 0)
    grouped = nn.Conv2d(4, 8, 3, groups=2)
    assert count_macs(grouped, torch.zeros(1, 4, 5, 5)) == Macs(3 * 3 * 8 * 2 * 9, 0)
    query, key = torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 7, 4)
    products = 2 * (5 * 7 * 4 + 5 * 7 * 4)
    assert count_macs(scaled_dot_product_attention, query, key, key) == Macs(products, products)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_lora_adds_rank_times_both_sides_of_each_layer(device) -> None:
    generator = small_generator(device)
    wanted_params = wanted_macs = 0
    layer_outputs: dict[str, int] = {}
    sized = small_generator()
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: layer_outputs.update(
                {name: out.shape[1:-1].numel() if out.ndim < 4 else out.shape[2:].numel()}
            )
        )
        for name, module in sized.unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    with torch.no_grad():
        sized.restore_latent(torch.zeros(1, 4, 8, 8), torch.zeros(1, 7, 12))
    for hook in hooks:
        hook.remove()
    for name, module in sized.unet.named_modules():
        if not name.endswith(("to_q", "conv1")):
            continue
        assert isinstance(module, nn.Linear | nn.Conv2d)
        out, inner = module.weight.shape[0], module.weight[0].numel()
        wanted_params += 4 * (out + inner)
        wanted_macs += layer_outputs[name] * 4 * (out + inner)
    found = count_lora(
        generator, 16, Adaptation({"rank": 4, "alpha": 4, "targets": ["to_q", "conv1"]})
    )
    assert found.params == found.trainable == wanted_params
    assert found.macs == found.macs_without_attention == wanted_macs


def test_lora_of_the_default_layers_is_counted_on_the_meta_device() -> None:
    options = Adaptation({"rank": 4, "alpha": 4, "targets": DEFAULT_TARGETS})
    on_cpu = count_lora(small_generator(), 16, options)
    assert count_lora(small_generator("meta"), 16, options) == on_cpu


def test_an_encoder_with_lora_and_a_layer_trained_whole() -> None:
    """OSEDiff's: LoRA on every layer of the VAE's encoder, conv_in of the UNet as a whole."""
    generator = small_generator()
    generator.prompt_source = FixedPrompt(torch.zeros(5, 12))
    assert set(count_parts(generator, 16)) == {"vae_encoder", "vae_decoder", "unet"}
    vae = generator.codec.vae
    targets = encoder_targets(generator.codec, "all")
    wanted, macs = 0, 0
    latent = torch.zeros(1, 3, 16, 16)
    hooks, outputs = [], {}
    for name, module in vae.named_modules():
        if name in targets:
            hooks.append(
                module.register_forward_hook(
                    lambda m, i, o, name=name: outputs.update(
                        {name: o.numel() // (o.shape[1] if o.ndim == 4 else o.shape[-1])}
                    )
                )
            )
    with torch.no_grad():
        vae.encode(latent)
    for hook in hooks:
        hook.remove()
    for name in targets:
        weight = vae.get_submodule(name).weight
        own = 2 * (weight.shape[0] + weight[0].numel())
        wanted, macs = wanted + own, macs + outputs[name] * own
    unet = generator.unet.conv_in
    layer = generator.unet.mid_block.attentions[0].proj_in
    lora_unet = 2 * (layer.in_features + layer.out_features)
    adaptation = Adaptation(
        {"rank": 2, "alpha": 8, "targets": ["mid_block.attentions.0.proj_in"]},
        {"rank": 2, "alpha": 8, "targets": targets},
        ("unet.conv_in",),
    )
    whole = unet.weight.numel() + unet.bias.numel()
    found = count_lora(generator, 16, adaptation)
    assert found.params == wanted + lora_unet
    assert found.trainable == found.params + whole
    middle = (16 // 2 // 2) ** 2  # tokens of the middle block
    assert found.macs == macs + middle * lora_unet


def test_the_text_encoder_is_stable_diffusions() -> None:
    """340.387840 M (R); MACs of its linear layers and of attention's products by hand."""
    cfg, _ = compose_words({"experiment": "osdface", "scale": "sd21"})
    found = count_text_encoder(plain(cfg.scale.base.text_encoder))
    width, layers, words = 1024, 23, 77
    assert found.params == 340_387_840 and found.trainable == 0
    assert found.macs_without_attention == layers * words * (4 * width**2 + 2 * 4 * width**2)
    assert found.macs - found.macs_without_attention == layers * 2 * words**2 * width


def test_full_size_is_the_published_architecture() -> None:
    """Parameters and GMACs of Stable Diffusion 2.1 and the VRE, by an independent count (P, R)."""
    with torch.device("meta"):
        base = build_base()
        embedder = VisualRepresentationEmbedder(VQConfig())
        generator = OneStepGenerator(base, VisualPrompt(embedder, PromptConvs()))
    parts = count_parts(generator, 512)
    wanted = {
        "unet": (865.910724, 402.1),
        "vae_encoder": (34.16, 558.3),
        "vae_decoder": (49.49, 1257.3),
        "vre_encoder": (29.17, 99.6),
        "prompt_convs": (0.394496, None),
    }
    for name, (params, macs) in wanted.items():
        assert parts[name].params / 1e6 == pytest.approx(params, rel=1e-3), name
        if macs is not None:
            assert parts[name].macs / 1e9 == pytest.approx(macs, rel=1e-3), name
    assert sum(p.params for p in parts.values()) / 1e6 == pytest.approx(979.13, rel=1e-3)
    assert sum(p.macs for p in parts.values()) / 1e9 == pytest.approx(2317.3, rel=1e-3)
