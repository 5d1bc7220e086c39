"""One trained restorer gives one image: unmerged, exported, released, imported, in a pipeline.

LoRA sits on every kind of layer that the UNet has, with alpha different from its rank.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from osdface import Restorer
from osdface.checkpoints.converting import write_export, write_released
from osdface.checkpoints.export import LORA_FILE, save_restorer
from osdface.checkpoints.initial import load_initial, lora_options
from osdface.checkpoints.lora_file import read_lora
from osdface.checkpoints.opening import read_parts
from osdface.errors import UserError
from osdface.networks.base import build_base, load_base, save_base
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator, predicted_original
from osdface.networks.lora import DEFAULT_TARGETS, add_lora
from tests.osdface.conftest import UNET, VAE, VQ

MORE = ("conv_in", "time_emb_proj", "linear_1", "linear_2")
LORA = {"rank": 4, "alpha": 6, "targets": [*DEFAULT_TARGETS, *MORE]}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def fresh(base, lora: dict[str, Any]) -> OneStepGenerator:
    """A generator with fresh LoRA and prompt on a saved base."""
    found = load_base(base)
    add_lora(found.unet, **lora)
    embedder = VisualRepresentationEmbedder(VQ, 77)
    return OneStepGenerator(found, VisualPrompt(embedder, PromptConvs(16, 8, 12))).eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("interop") / "base"
    save_base(build_base(UNET, VAE), folder)
    return folder


@pytest.fixture(scope="module")
def trained(base) -> OneStepGenerator:
    torch.manual_seed(1)
    generator = fresh(base, LORA)
    torch.nn.init.normal_(generator.prompt_source.embedder.codebook)
    generator.prompt_source.embedder.input_range = (-3.0, 1.0)
    for name, parameter in generator.named_parameters():
        if "lora_" in name or ".convs." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return generator


@pytest.fixture(scope="module")
def expected(trained) -> torch.Tensor:
    with torch.no_grad():
        return trained(IMAGES).image


@pytest.fixture(scope="module")
def places(trained, base, tmp_path_factory) -> dict[str, Path]:
    """Export, released files made of it, and an export made of those."""
    folder = tmp_path_factory.mktemp("layouts")
    found = {name: folder / name for name in ("export", "released", "imported")}
    identity = {"path": str(base), "fingerprint": load_base(base).fingerprint}
    save_restorer(found["export"], trained, LORA, identity, {"resolution": 16})
    notes = write_released(read_parts(found["export"]), found["released"])
    assert len(notes) == 2 and "rank 4" in notes[1]
    write_export(read_parts(found["released"]), found["imported"], base, None)
    return found


def test_lora_sits_on_every_kind_of_layer(places) -> None:
    layers = set(lora_options(places["released"])["targets"])
    assert {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"} <= layers
    for part in (
        "downsamplers.0.conv",
        "upsamplers.0.conv",
        "conv_shortcut",
        "time_emb_proj",
        "attn1.to_q",
        "attn2.to_k",
        "to_out.0",
        "ff.net.0.proj",
        "proj_in",
        "resnets.0.conv1",
        "mid_block.resnets.1.conv2",
    ):
        assert any(part in layer for layer in layers), part
    shapes = {tuple(v.shape[2:]) for v in load_file(places["released"] / LORA_FILE).values()}
    assert shapes == {(), (1, 1), (3, 3)}  # linear, and both sides of a convolution's


@pytest.mark.parametrize("layout", ["export", "released", "imported"])
def test_merged_weights_of_every_layout_restore_alike(layout, places, base, expected) -> None:
    assert (expected - IMAGES).abs().max() > 0.1
    restorer = Restorer.from_pretrained(places[layout], device="cpu", base=base)
    found = restorer.restore(IMAGES).images
    torch.testing.assert_close(found, expected.clamp(-1, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("layout", ["export", "released", "imported"])
def test_training_starts_with_the_same_image(layout, places, base, expected) -> None:
    torch.manual_seed(2)
    options = lora_options(places[layout])
    assert options["rank"] == 4 and options["alpha"] == (6 if layout == "export" else 16)
    generator = fresh(base, options)
    if layout != "export":  # an export brings its VRE; for the others the run is built with it
        generator.prompt_source.embedder = read_parts(places[layout]).prompt_source.embedder
    load_initial(places[layout], generator, load_base(base).fingerprint)
    with torch.no_grad():
        torch.testing.assert_close(generator(IMAGES).image, expected, atol=1e-4, rtol=0)
    wanted = {name for name, p in generator.named_parameters() if p.requires_grad}
    assert wanted and all("lora_" in name or ".convs." in name for name in wanted)


@pytest.mark.parametrize("layout", ["export", "released"])
def test_a_stable_diffusion_pipeline_loads_the_lora(
    layout, places, base, trained, expected
) -> None:
    """A real pipeline of random weights; the restorer's one step is taken with its parts."""
    found = load_base(base)
    config = CLIPTextConfig(
        vocab_size=64, hidden_size=12, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, eos_token_id=63,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=found.codec.vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=None,
        unet=found.unet,
        scheduler=DDPMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )

    def one_step() -> torch.Tensor:
        with torch.no_grad():
            latent = found.codec.encode(IMAGES)
            noise = pipe.unet(latent, 399, trained.prompt_source(IMAGES)).sample
            clean = predicted_original(latent, noise, found.alphas_cumprod[399])
            return pipe.vae.decode(clean / pipe.vae.config.scaling_factor).sample

    assert (one_step() - expected).abs().max() > 0.01
    pipe.load_lora_weights(places[layout])
    torch.testing.assert_close(one_step(), expected, atol=1e-4, rtol=0)
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    torch.testing.assert_close(one_step(), expected, atol=1e-4, rtol=0)


def edited(folder: Path, target: Path, change) -> Path:
    """A copy of released files with another LoRA."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    state = change(load_file(folder / LORA_FILE))
    save_file({k: v.contiguous() for k, v in state.items()}, target / LORA_FILE)
    return target


def test_loras_of_other_forms_are_told(places, base, tmp_path) -> None:
    state = load_file(places["released"] / LORA_FILE)
    first = min(state)
    cases = {
        "incomplete": lambda s: {k: v for k, v in s.items() if k != first},
        "pipeline form": lambda s: {k.removeprefix("unet."): v for k, v in s.items()},
        "one rank": lambda s: s | {first: torch.cat([s[first], s[first]])},
        "on another base": lambda s: {
            k.replace("unet.conv_in", "unet.in"): v for k, v in s.items()
        },
    }
    for number, (told, change) in enumerate(cases.items()):
        folder = edited(places["released"], tmp_path / str(number), change)
        with pytest.raises(UserError, match=told) as error:
            generator = fresh(base, LORA)
            read_lora(folder / LORA_FILE)
            load_initial(folder, generator, "any")
        assert "\n" not in str(error.value)


def test_other_bases_prompts_and_ranks_are_told(places, base, tmp_path) -> None:
    torch.manual_seed(0)
    wide = tmp_path / "wide"
    save_base(build_base(UNET | {"cross_attention_dim": 20}, VAE), wide)
    with pytest.raises(UserError, match=r"prompt of width 12, but the base's .* takes 20"):
        Restorer.from_pretrained(places["released"], device="cpu", base=wide)
    with pytest.raises(UserError, match="trained on another base"):
        Restorer.from_pretrained(places["export"], device="cpu", base=wide)
    options = lora_options(places["released"])
    with pytest.raises(UserError, match="its lora_rank is 4"):
        load_initial(places["released"], fresh(base, options | {"rank": 8}), "any")
    with pytest.raises(UserError, match="other lora_targets"):
        load_initial(places["released"], fresh(base, options | {"targets": ["to_q"]}), "any")
    generator = fresh(base, options)
    generator.prompt_source.convs = PromptConvs(16, 9, 12)
    with pytest.raises(UserError, match=r"conv1.weight has shape"):
        load_initial(places["released"], generator, "any")
    with pytest.raises(UserError, match="trained on another base"):
        load_initial(places["export"], generator, "any")
    with pytest.raises(UserError, match="is no folder"):
        load_initial(tmp_path / "gone", generator, "any")
    (tmp_path / "half").mkdir()
    with pytest.raises(UserError, match=r"lacks associate_2.ckpt"):
        load_initial(tmp_path / "half", generator, "any")


def test_what_the_released_layout_cannot_hold_is_told(places, tmp_path) -> None:
    parts = read_parts(places["export"])
    parts.timestep = 200
    with pytest.raises(UserError, match="t = 200"):
        write_released(parts, tmp_path / "out")
    parts.prompt_source.kind = "duplicates"
    with pytest.raises(UserError, match=r"vre.kind=duplicates"):
        write_released(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()
