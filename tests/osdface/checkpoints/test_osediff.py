"""OSEDiff's layout: files of real peft adapters on a small base, held against plain sums."""

import copy
import os
import pickle

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from experiments.convert import main as convert
from experiments.export import main as export
from osdface import Restorer
from osdface.checkpoints import opening
from osdface.checkpoints.export import read_config
from osdface.checkpoints.opening import open_restorer, read_parts
from osdface.checkpoints.osediff import read_osediff
from osdface.errors import UserError
from osdface.networks.adaptation import merge
from osdface.networks.base import save_base

RANK = 2
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
# Of the training code, as facts: which parts of a name get LoRA, and which list they fall into.
WORDS = (
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
    "conv",
    "proj_out",
    "proj_in",
    "ff.net.2",
    "net.0.proj",
)


def unet_lists(unet) -> tuple[list[str], list[str], list[str]]:
    lists: tuple[list[str], list[str], list[str]] = [], [], []
    for name, _ in unet.named_parameters():
        if "bias" in name or "norm" in name or not any(word in name for word in WORDS):
            continue
        encoder = "down_blocks" in name or "conv_in" in name
        decoder = "up_blocks" in name or "conv_out" in name
        lists[0 if encoder else 1 if decoder else 2].append(name.removesuffix(".weight"))
    return lists


def vae_list(vae) -> list[str]:
    """With the repetitions of the training code, which does not stop at the first match."""
    found = []
    for name, _ in vae.named_parameters():
        if "bias" in name or "norm" in name:
            continue
        for word in ("conv1", "conv", "to_q", "to_k", "to_v", "to_out.0"):
            quant = "quant_conv" in name and "post" not in name
            if (word in name and "encoder" in name) or quant:
                found.append(name.removesuffix(".weight"))
    return found


@pytest.fixture
def trained(tiny_base):
    """The networks as the training leaves them, with peft's adapters, and the file's content."""
    unet, vae = copy.deepcopy(tiny_base.unet), copy.deepcopy(tiny_base.codec.vae)
    lists, encoder = unet_lists(unet), vae_list(vae)
    for name, targets in zip(("encoder", "decoder", "others"), lists, strict=True):
        config = LoraConfig(r=RANK, init_lora_weights="gaussian", target_modules=targets)
        inject_adapter_in_model(config, unet, f"default_{name}")
    config = LoraConfig(r=RANK, init_lora_weights="gaussian", target_modules=encoder)
    inject_adapter_in_model(config, vae, "default_encoder")
    torch.manual_seed(7)
    for model in (unet, vae):
        for name, parameter in model.named_parameters():
            if "lora_" in name or name.startswith("conv_in.base_layer"):
                torch.nn.init.normal_(parameter, std=0.1)
        for module in model.modules():
            if hasattr(module, "set_adapter") and hasattr(module, "lora_A"):
                module.set_adapter(list(module.lora_A))
    state = {
        "vae_lora_encoder_modules": encoder,
        "unet_lora_encoder_modules": lists[0],
        "unet_lora_decoder_modules": lists[1],
        "unet_lora_others_modules": lists[2],
        "rank_unet": RANK,
        "rank_vae": RANK,
        "state_dict_unet": {
            k: v for k, v in unet.state_dict().items() if "lora" in k or "conv_in" in k
        },
        "state_dict_vae": {k: v for k, v in vae.state_dict().items() if "lora" in k},
    }
    return unet.eval(), vae.eval(), state


def saved(state, path):
    torch.save(state, path)
    return path


def merge_into(base, state, path):
    """As whoever opens the file does it."""
    read_parts(saved(state, path)).put_into(base)
    merge(base.unet, base.codec)


def naive_sum(weight, down, up):
    """W + B A * alpha / rank, entry by entry, in float64; alpha is peft's default."""
    result = weight.double().clone()
    for out in range(up.shape[0]):
        for rank in range(RANK):
            result[out] += float(up[out, rank].squeeze()) * down[rank].double() * (8 / RANK)
    return result


def test_merged_weights_are_the_plain_sum(trained, tiny_base, tmp_path) -> None:
    _, _, state = trained
    unet, vae = tiny_base.unet, tiny_base.codec.vae
    before = {"unet": copy.deepcopy(unet.state_dict()), "vae": copy.deepcopy(vae.state_dict())}
    merge_into(tiny_base, state, tmp_path / "osediff.pkl")
    changed = 0
    for part, model in (("unet", unet), ("vae", vae)):
        tensors = state[f"state_dict_{part}"]
        for name, own in model.state_dict().items():
            layer, _, leaf = name.rpartition(".")
            start = tensors.get(f"{layer}.base_layer.{leaf}", before[part][name])
            pair = [
                next((v for k, v in tensors.items() if k.startswith(f"{layer}.lora_{half}.")), None)
                for half in "AB"
            ]
            wanted = start.double()
            if leaf == "weight" and pair[0] is not None:
                wanted, changed = naive_sum(start, *pair), changed + 1
            torch.testing.assert_close(own.double(), wanted, atol=1e-6, rtol=1e-5)
    lists = ("unet_lora_encoder_modules", "unet_lora_decoder_modules", "unet_lora_others_modules")
    assert changed == sum(len(set(state[key])) for key in (*lists, "vae_lora_encoder_modules"))


def test_merged_networks_do_what_the_adapters_did(trained, tiny_base, tmp_path) -> None:
    adapted_unet, adapted_vae, state = trained
    unet, vae = tiny_base.unet.eval(), tiny_base.codec.vae.eval()
    source = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 16, 16, generator=source) * 2 - 1
    latent = torch.randn(2, 4, 8, 8, generator=source)
    prompt = torch.randn(2, 5, 12, generator=source)
    with torch.no_grad():
        start = vae.encode(image).latent_dist.mode()
        merge_into(tiny_base, state, tmp_path / "osediff.pkl")
        for ours, theirs in (
            (unet(latent, 999, prompt).sample, adapted_unet(latent, 999, prompt).sample),
            (vae.encode(image).latent_dist.mode(), adapted_vae.encode(image).latent_dist.mode()),
            (vae.decode(latent).sample, adapted_vae.decode(latent).sample),
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(vae.encode(image).latent_dist.mode(), start, atol=1e-3)


def test_other_versions_of_peft_name_tensors_otherwise(trained, tmp_path) -> None:
    """No adapter's name, no base_layer, a wrapper's prefix, float16: the same content."""
    _, _, state = trained
    wanted = read_osediff(saved(state, tmp_path / "new.pkl"))
    old = copy.deepcopy(state)
    for part in ("unet", "vae"):
        old[f"state_dict_{part}"] = {
            "base_model.model." + k.replace(".default_encoder", "").replace(".base_layer", ""): v
            for k, v in state[f"state_dict_{part}"].items()
        }
    found = read_osediff(saved(old, tmp_path / "old.pkl"))
    assert found.unet.layers.keys() == wanted.unet.layers.keys()
    for name, pair in wanted.unet.layers.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, found.unet.layers[name], strict=True))
    assert torch.equal(found.conv_in["weight"], wanted.conv_in["weight"])
    half = copy.deepcopy(state)
    half["state_dict_vae"] = {k: v.half() for k, v in state["state_dict_vae"].items()}
    found = read_osediff(saved(half, tmp_path / "half.pkl"))
    assert all(pair[0].dtype == torch.float32 for pair in found.vae.layers.values())


def test_rank_alpha_and_layers_are_kept(trained, tmp_path) -> None:
    _, _, state = trained
    weights = read_osediff(saved(state, tmp_path / "osediff.pkl"))
    assert weights.unet.options()["rank"] == RANK and weights.unet.options()["alpha"] == 8
    assert weights.vae.options()["targets"] == sorted(set(state["vae_lora_encoder_modules"]))
    assert "conv_in" not in weights.unet.layers and "encoder.conv_in" in weights.vae.layers
    assert "quant_conv" in weights.vae.layers
    key = "mid_block.attentions.0.proj_in.lora_A.weight"
    own = state["state_dict_unet"][key.replace(".weight", ".default_others.weight")]
    assert torch.equal(weights.unet.state()[key], own)


def _without(state, part, ending):
    name = next(key for key in state[part] if key.endswith(ending))
    del state[part][name]


def _again(state, name):
    state["state_dict_unet"][f"unet.{name}"] = state["state_dict_unet"][name]


def _rank(state):
    state["rank_vae"] = 3


def _listed_twice(state):
    state["unet_lora_others_modules"].append(state["unet_lora_decoder_modules"][0])


def _kernel(state):
    name = next(k for k in state["state_dict_unet"] if k.startswith("conv_in.lora_B"))
    value = state["state_dict_unet"][name]
    state["state_dict_unet"][name] = value.expand(-1, -1, 3, 3).contiguous()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("rank_vae"), "lacks 'rank_vae'"),
        (lambda s: s.update(rank_unet="4"), "'rank_unet' is no rank"),
        (lambda s: s.update(rank_unet=True), "'rank_unet' is no rank"),
        (lambda s: s.update(unet_lora_others_modules="mid"), "is no list of layers"),
        (lambda s: s.update(state_dict_vae=[1]), "is no table of tensors"),
        (lambda s: s.update(state_dict_sft={}), "also holds 'state_dict_sft'"),
        (lambda s: _without(s, "state_dict_unet", "proj_in.lora_B.default_others.weight"), "lacks"),
        (lambda s: _without(s, "state_dict_unet", "conv_in.base_layer.bias"), "the bias of 'conv"),
        (lambda s: s["state_dict_unet"].update(extra=torch.ones(1)), "unknown tensor 'extra'"),
        (lambda s: s["unet_lora_others_modules"].pop(), "its lists of layers do not name it"),
        (lambda s: s["state_dict_unet"].update({3: torch.ones(1)}), "is no table of tensors"),
        (lambda s: s["state_dict_vae"].update(x=torch.ones(1).int()), "is no table of tensors"),
        (lambda s: _again(s, "conv_in.base_layer.bias"), "a second time"),
        (lambda s: _again(s, "conv_in.lora_A.default_encoder.weight"), "a second time"),
        (_rank, "no LoRA of rank 3"),
        (_listed_twice, "two adapters"),
        (_kernel, "no LoRA of rank 2"),
    ],
)
def test_a_wrong_file_is_one_sentence(change, told, trained, tmp_path) -> None:
    _, _, state = trained
    change(state)
    with pytest.raises(UserError) as error:
        read_osediff(saved(state, tmp_path / "osediff.pkl"))
    assert told in str(error.value) and "\n" not in str(error.value)


class _Shell:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_other_and_cut_files_are_one_sentence_and_run_nothing(
    trained, tmp_path, monkeypatch
) -> None:
    _, _, state = trained
    monkeypatch.chdir(tmp_path)
    whole = saved(state, tmp_path / "osediff.pkl").read_bytes()
    torch.save({"a": torch.ones(3)}, "old.pkl", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pkl").read_bytes()
    # An older layout, cut off anywhere: torch's reader has no error of its own for it.
    cuts = {f"old{size}.pkl": old[:size] for size in range(1, len(old), 7)}
    files = cuts | {
        "cut.pkl": whole[: len(whole) // 2],
        "empty.pkl": b"",
        "text.pkl": b"no checkpoint",
        "page.pkl": b"<!DOCTYPE html><html></html>",
        "bare.pkl": pickle.dumps(state),
        "evil.pkl": pickle.dumps(_Shell()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name) as error:
            read_osediff(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match="no checkpoint of OSEDiff"):
        read_osediff(saved({"state_dict": {}}, tmp_path / "other.pkl"))
    with pytest.raises(UserError, match="no file"):
        read_osediff(tmp_path / "gone.pkl")


def test_another_base_is_told(trained, tiny_base, tmp_path) -> None:
    _, _, state = trained
    tiny_base.unet.mid_block.attentions[0].proj_in = torch.nn.Linear(32, 31)
    with pytest.raises(UserError, match=r"mid_block.*shape.*trained on another base"):
        merge_into(tiny_base, state, tmp_path / "osediff.pkl")


@pytest.fixture
def opened(trained, tiny_base, tmp_path):
    """A file, the base's folder, a prompt, and what the networks with peft's adapters restore."""
    unet, vae, state = trained
    save_base(tiny_base, tmp_path / "base")
    prompt = torch.randn(5, 12, generator=torch.Generator().manual_seed(3))
    save_file({"prompt": prompt}, tmp_path / "prompt.safetensors")
    a = tiny_base.alphas_cumprod[999]
    scale = tiny_base.codec.scaling_factor
    with torch.no_grad():
        degraded = vae.encode(IMAGES).latent_dist.mode() * scale
        noise = unet(degraded, 999, prompt.expand(2, -1, -1)).sample
        latent = (degraded.double() - (1 - a).sqrt() * noise.double()) / a.sqrt()
        expected = vae.decode((latent / scale).float()).sample.clamp(-1, 1)
    return saved(state, tmp_path / "osediff.pkl"), tmp_path / "base", expected


def test_a_converted_file_restores_what_the_adapters_did(opened, tmp_path, capsys) -> None:
    file, base, expected = opened
    words = [f"input={file}", f"output={tmp_path / 'export'}", "to=export", f"base={base}"]
    assert convert([*words, f"prompt={tmp_path / 'prompt.safetensors'}"]) == 0
    facts = read_config(tmp_path / "export", "osdface")
    assert facts["timestep"] == 999 and facts["lora"]["rank"] == RANK
    assert facts["lora"]["alpha"] == facts["lora_vae"]["alpha"] == 8
    assert facts["trained_layers"] == ["unet.conv_in"]
    restored = Restorer.from_pretrained(tmp_path / "export").restore(IMAGES).images
    # The latent is divided by sqrt(a) = 0.068: rounding grows by as much.
    torch.testing.assert_close(restored, expected, atol=2e-3, rtol=0)
    assert (restored - IMAGES).abs().mean() > 0.05


def test_a_file_opens_with_a_base_that_has_a_text_encoder(opened, monkeypatch) -> None:
    file, base, expected = opened
    with pytest.raises(UserError, match="text_encoder"):
        open_restorer(file, base)

    class Encoder:
        def embed(self, texts):
            assert texts == [""]
            return load_file(base.parent / "prompt.safetensors")["prompt"][None]

    monkeypatch.setattr(opening, "load_text_encoder", lambda folder: Encoder())
    generator, resolution = open_restorer(file, base)
    assert resolution == 16 and generator.timestep == 999
    with torch.no_grad():
        image = generator(IMAGES).image.clamp(-1, 1)
    torch.testing.assert_close(image, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["to=export"], "need base=FOLDER"),
        (["to=released", "prompt=prompt.safetensors"], "vre.kind=text_prompt"),
        (["to=export", "base=base", "prompt=gone"], "'gone' was not found"),
        (["to=export", "base=base", "prompt=prompt.safetensors", "text=a"], "not both"),
        (["to=export", "base=base", "vre=base"], "has no VRE"),
        (["to=export", "base=base", "input=tiny", "text=a"], "belongs to OSEDiff's .pkl"),
    ],
)
def test_mistakes_of_the_command_are_one_sentence(
    words, told, opened, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    first = [] if any(word.startswith("input=") for word in words) else ["input=osediff.pkl"]
    assert convert([*first, "output=out", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_file_can_be_exported(opened, tmp_path, monkeypatch, capsys) -> None:
    file, base, expected = opened

    class Encoder:
        def embed(self, texts):
            return load_file(base.parent / "prompt.safetensors")["prompt"][None]

    monkeypatch.setattr(opening, "load_text_encoder", lambda folder: Encoder())
    words = [f"checkpoint={file}", f"base={base}", "format=safetensors"]
    assert export([*words, f"output={tmp_path / 'merged'}"]) == 0, capsys.readouterr().err
    restored = Restorer.from_pretrained(tmp_path / "merged").restore(IMAGES).images
    torch.testing.assert_close(restored, expected, atol=2e-3, rtol=0)
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "from OSEDiff's checkpoint" in card and "Apache-2.0." in card
