"""Bases as people have them: variants, shards, pickles, hub names; and what does not fit."""

import json
import time

import pytest
import torch
from diffusers import AutoencoderKL

from osdface.errors import UserError
from osdface.networks.base import (
    SD21_UNET,
    DiffusionBase,
    build_base,
    folder_fingerprint,
    load_base,
    save_base,
)
from osdface.networks.base_files import find_base
from tests.osdface.conftest import UNET, VAE


@pytest.fixture
def folder(tiny_base, tmp_path):
    save_base(tiny_base, tmp_path / "base")
    return tmp_path / "base"


def same(found: DiffusionBase, wanted: DiffusionBase, atol: float = 0.0) -> None:
    for part in ("unet", "codec"):
        states = (getattr(each, part).state_dict() for each in (found, wanted))
        for left, right in zip(*(state.values() for state in states), strict=True):
            assert left.dtype == torch.float32
            torch.testing.assert_close(left, right, atol=atol, rtol=atol)


@pytest.mark.parametrize(
    ("options", "atol"),
    [
        ({"variant": "fp16"}, 1e-3),
        ({"max_shard_size": "100KB"}, 0.0),
        ({"variant": "fp16", "max_shard_size": "50KB"}, 1e-3),
        ({"safe_serialization": False}, 0.0),
    ],
    ids=["fp16", "shards", "fp16 shards", "bin"],
)
def test_weights_as_diffusers_writes_them(options, atol, tiny_base, folder) -> None:
    for part, model in (("unet", tiny_base.unet), ("vae", tiny_base.codec.vae)):
        for file in (folder / part).glob("diffusion_pytorch_model*"):
            file.unlink()
        model = model.half() if "variant" in options else model
        model.save_pretrained(folder / part, **options)
        model.float()
    written = [path.name for path in (folder / "unet").iterdir()]
    assert any("-of-" in name for name in written) == ("max_shard_size" in options)
    found = load_base(folder)
    same(found, tiny_base, atol)
    assert found.fingerprint == load_base(folder).fingerprint
    changed = next((folder / "unet").glob("*.bin"), None) or next(folder.rglob("*.safetensors"))
    changed.write_bytes(changed.read_bytes()[:-4] + b"abcd")
    assert folder_fingerprint(folder) != found.fingerprint


def test_plain_weights_come_before_their_variants(tiny_base, folder) -> None:
    other = build_base(UNET, VAE)
    other.unet.half().save_pretrained(folder / "unet", variant="fp16")
    same(load_base(folder), tiny_base)


def change(folder, part: str, **values) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("unet", {"cross_attention_dim": 24}, "not of the same model|cannot be read"),
        ("unet", {"layers_per_block": 2}, "missing or of another size|cannot be read"),
        ("unet", {"in_channels": 9}, "cannot be read|another size"),
        ("vae", {"latent_channels": 8}, "cannot be read|another size"),
    ],
)
def test_a_configuration_of_another_model_is_refused(part, values, told, folder) -> None:
    change(folder, part, **values)
    with pytest.raises(UserError, match=told) as error:
        load_base(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_a_vae_of_another_model_is_refused(folder) -> None:
    AutoencoderKL(**VAE | {"latent_channels": 8}).save_pretrained(folder / "vae")
    with pytest.raises(UserError, match=r"UNet for 4 latent channels in .* VAE with 8"):
        load_base(folder)


def test_broken_and_missing_weights_are_told(folder) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="unet cannot be read"):
        load_base(folder)
    weights.unlink()
    with pytest.raises(UserError, match="unet holds no weights"):
        load_base(folder)


@pytest.mark.parametrize(
    ("unet", "vae", "told"),
    [
        ({"out_channels": 8}, {}, "4 latent channels in and 8 out"),
        ({"class_embed_type": "timestep"}, {}, "more than a prompt"),
        ({**SD21_UNET}, {"scaling_factor": 0.13025}, "scaling_factor 0.13025"),
    ],
)
def test_parts_that_do_not_fit_one_step_are_refused(unet, vae, told) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=told) as error:
        build_base(UNET | unet if "attention_head_dim" not in unet else unet, VAE | vae)
    assert "\n" not in str(error.value)


def test_names_are_looked_up_without_a_network(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_base("base") == folder.relative_to(tmp_path)
    monkeypatch.chdir("/")
    assert find_base("base", tmp_path) == folder
    start = time.perf_counter()
    with pytest.raises(UserError, match="hf download someone/no-such-model") as error:
        find_base("someone/no-such-model")
    assert "\n" not in str(error.value) and time.perf_counter() - start < 5
    with pytest.raises(UserError, match="give the path"):
        find_base("/gone/model")
    with pytest.raises(UserError, match="was not found"):
        find_base("gone.safetensors", tmp_path)


def test_a_hub_name_is_found_in_the_local_cache(folder, tmp_path, monkeypatch) -> None:
    commit = "0" * 40
    model = tmp_path / "cache" / "models--owner--model"
    (model / "snapshots").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    folder.rename(model / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert load_base(find_base("owner/model")).prompt_dim == 12
