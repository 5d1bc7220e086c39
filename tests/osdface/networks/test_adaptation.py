"""LoRA on the VAE encoder and layers trained whole: what changes, what stays, what comes back."""

import copy

import pytest
import torch
from diffusers import AutoencoderTiny

from osdface import Restorer
from osdface.checkpoints.converting import write_released
from osdface.checkpoints.export import load_restorer, read_config, save_restorer
from osdface.checkpoints.merged import save_merged
from osdface.checkpoints.opening import open_restorer, read_parts
from osdface.errors import UserError
from osdface.networks.adaptation import Adaptation, adapt, encoder_targets, without_lora
from osdface.networks.base import DiffusionBase, build_base, load_base, save_base
from osdface.networks.generator import OneStepGenerator
from osdface.networks.latents import LatentCodec
from osdface.networks.prompts import FixedPrompt
from tests.osdface.conftest import UNET, VAE

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
LORA = {"rank": 4, "alpha": 8, "targets": ["to_q", "conv1"]}


def build_vae(kind: str):
    if kind == "kl":
        return None
    sizes = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    blocks = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    return AutoencoderTiny(latent_channels=4, **sizes, **blocks)


def trained_base(folder, kind: str = "kl") -> tuple[DiffusionBase, Adaptation]:
    """A base that was saved, then adapted as OSEDiff is, nothing of it zero."""
    torch.manual_seed(0)
    base = build_base(UNET, VAE)
    if (vae := build_vae(kind)) is not None:
        base.codec = LatentCodec(vae)
    save_base(base, folder)
    base = load_base(folder)
    of_vae = {"rank": 2, "alpha": 4, "targets": encoder_targets(base.codec, "all")}
    adaptation = Adaptation(LORA, of_vae, ("unet.conv_in",))
    adapt(base, adaptation)
    for network in (base.unet, base.codec):
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn_like(parameter)
    return base, adaptation


def make(base: DiffusionBase) -> OneStepGenerator:
    prompt = FixedPrompt(torch.randn(3, 12, generator=torch.Generator().manual_seed(2)))
    return OneStepGenerator(base, prompt, 999).eval()


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_export_merged_and_restorer_give_the_same_image(kind, tmp_path) -> None:
    base, adaptation = trained_base(tmp_path / "base", kind)
    generator = make(base)
    with torch.no_grad():
        expected = generator(IMAGES).image.clamp(-1, 1)
        with without_lora(base.codec.vae):
            plain = generator(IMAGES).image.clamp(-1, 1)
    assert (expected - plain).abs().max() > 1e-3  # the encoder's LoRA does something
    identity = {"path": str(tmp_path / "base"), "fingerprint": base.fingerprint}
    save_restorer(tmp_path / "export", generator, adaptation, identity, {"resolution": 16})
    config = read_config(tmp_path / "export", "osdface")
    assert config["format_version"] == 4 and config["trained_layers"] == ["unet.conv_in"]
    found = Restorer.from_pretrained(tmp_path / "export", device="cpu").restore(IMAGES).images
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    opened, _ = open_restorer(tmp_path / "export")
    save_merged(tmp_path / "merged", opened, 16)
    found = Restorer.from_pretrained(tmp_path / "merged", device="cpu").restore(IMAGES).images
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    # Into a generator that was built alike, without merging.
    other = load_base(tmp_path / "base")
    adapt(other, adaptation)
    again = load_restorer(tmp_path / "export", make(other))
    with torch.no_grad():
        assert torch.equal(again(IMAGES).image.clamp(-1, 1), expected)


def test_the_published_layers_of_the_encoder() -> None:
    """Convolutions, attention and quant_conv (R); nothing of the decoder."""
    codec = build_base(UNET, VAE).codec
    names = encoder_targets(codec, "all")
    ends = (
        "conv1",
        "conv2",
        "conv_in",
        "conv_shortcut",
        "conv",
        "conv_out",
        "to_q",
        "to_k",
        "to_v",
    )
    ends += ("to_out.0", "quant_conv")
    assert all(name.endswith(ends) for name in names) and "quant_conv" in names
    weighted = [
        n for n, m in codec.vae.encoder.named_modules() if getattr(m, "weight", None) is not None
    ]
    assert len(names) == 1 + len([n for n in weighted if "norm" not in n])
    assert encoder_targets(codec, ["conv1"]) == [n for n in names if n.endswith(".conv1")]
    with pytest.raises(UserError, match="no layer nothing"):
        encoder_targets(codec, ["nothing"])


def test_frozen_is_frozen_and_shared_weights_stay(tiny_base) -> None:
    shared = tiny_base.unet.conv_in.weight
    before = shared.detach().clone()
    whole = copy.deepcopy(tiny_base.codec)
    of_vae = {"rank": 2, "alpha": 4, "targets": encoder_targets(tiny_base.codec, "all")}
    adapt(tiny_base, Adaptation(LORA, of_vae, ("unet.conv_in",)))
    generator = make(tiny_base).train()
    restored = generator(IMAGES)
    restored.image.square().mean().backward()
    trained = {n for n, p in generator.named_parameters() if p.requires_grad}
    assert all("lora_" in n or n.startswith("unet.conv_in.") for n in trained)
    assert any(n.startswith("codec.vae.encoder.") for n in trained)
    for name, parameter in generator.named_parameters():
        assert (parameter.grad is not None) == (name in trained), name
    generator.unet.conv_in.weight.data.add_(1)
    assert torch.equal(shared, before) and generator.unet.conv_in.weight is not shared
    for name, parameter in generator.codec.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    with torch.no_grad():
        changed = generator.codec.encode(IMAGES)
        with without_lora(generator.codec.vae):
            torch.testing.assert_close(generator.codec.encode(IMAGES), whole.encode(IMAGES))
        assert torch.equal(generator.codec.encode(IMAGES), changed)
    assert not torch.allclose(changed, whole.encode(IMAGES))


def test_what_does_not_fit_is_a_sentence(tmp_path) -> None:
    base, adaptation = trained_base(tmp_path / "base")
    for layers, said in (
        (("unet.nowhere",), "no layer 'unet.nowhere'"),
        (("vae.encoder",), "layers of the UNet"),
        (("unet.down_blocks.0.resnets.0.conv1",), "has a LoRA"),
        (("unet.down_blocks",), "no weights of its own"),
    ):
        with pytest.raises(UserError, match=said):
            adapt(load_base(tmp_path / "base"), Adaptation(LORA, {}, layers))
    identity = {"path": str(tmp_path / "base"), "fingerprint": base.fingerprint}
    save_restorer(tmp_path / "export", make(base), adaptation, identity, {"resolution": 16})
    with pytest.raises(UserError, match=r"vre.kind=text_prompt|LoRA of the UNet alone"):
        write_released(read_parts(tmp_path / "export"), tmp_path / "released")
    for own, said in (
        (Adaptation(LORA), "lora_vae_targets"),
        (Adaptation(LORA, adaptation.lora_vae), "trained_layers"),
    ):
        other = load_base(tmp_path / "base")
        adapt(other, own)
        with pytest.raises(UserError, match=said):
            load_restorer(tmp_path / "export", make(other))
