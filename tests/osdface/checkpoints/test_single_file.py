"""Stable Diffusion in one file, small, against diffusers' own conversion of that layout."""

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import save_file

from osdface.checkpoints.single_file import UNET_PREFIX, VAE_PREFIX, _blocks, unet_name, vae_name
from osdface.errors import UserError
from osdface.networks.base import DiffusionBase, build_base, load_base

# As Stable Diffusion's: three kinds of blocks, two layers, up- and down-samplers in UNet and VAE.
UNET = {
    "sample_size": 8,
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 2,
    "cross_attention_dim": 12,
    "attention_head_dim": (1, 2, 2, 2),
    "norm_num_groups": 4,
    "use_linear_projection": True,
}
VAE = {
    "sample_size": 16,
    "block_out_channels": (8, 16),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 0.18215,
}


@pytest.fixture(scope="module")
def base() -> DiffusionBase:
    torch.manual_seed(0)
    return build_base(UNET, VAE)


@pytest.fixture(scope="module")
def single(base) -> dict[str, torch.Tensor]:
    """The base under the names of the authors' code; attention of the VAE as 1x1 convolutions."""
    blocks = _blocks(base.unet.config)
    state = {
        UNET_PREFIX + unet_name(name, blocks): value
        for name, value in base.unet.state_dict().items()
    }
    for name, value in base.codec.vae.state_dict().items():
        is_projection = ".attentions." in name and value.ndim == 2
        state[VAE_PREFIX + vae_name(name, 2)] = value[..., None, None] if is_projection else value
    return {name: value.contiguous() for name, value in state.items()}


def test_names_are_those_that_diffusers_converts(base, single) -> None:
    """Its converter walks the other way, from their names to its own."""
    unet = convert_ldm_unet_checkpoint(dict(single), dict(base.unet.config))
    wanted = base.unet.state_dict()
    assert unet.keys() == wanted.keys()
    assert all(torch.equal(unet[name], wanted[name]) for name in wanted)
    vae = convert_ldm_vae_checkpoint(dict(single), dict(base.codec.vae.config))
    wanted = base.codec.vae.state_dict()
    assert vae.keys() == wanted.keys()
    assert all(torch.equal(vae[name].flatten(), wanted[name].flatten()) for name in wanted)
    assert f"{UNET_PREFIX}input_blocks.3.0.op.weight" in single
    assert f"{UNET_PREFIX}output_blocks.5.2.conv.weight" in single
    assert f"{VAE_PREFIX}decoder.up.1.upsample.conv.weight" in single


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_single_file_gives_the_same_base(base, single, suffix, tmp_path) -> None:
    path = tmp_path / f"model{suffix}"
    extra = {"cond_stage_model.model.x": torch.zeros(3), "model_ema.decay": torch.zeros(())}
    if suffix == ".ckpt":
        torch.save({"state_dict": single | extra, "global_step": 7}, path)
    else:
        save_file({k: v.half() for k, v in (single | extra).items()}, path)
    found = load_base(path, UNET, VAE)
    for part in ("unet", "codec"):
        wanted = getattr(base, part).state_dict()
        for name, value in getattr(found, part).state_dict().items():
            assert value.dtype == torch.float32
            close = 0.0 if suffix == ".ckpt" else 1e-3  # float16 on disk
            torch.testing.assert_close(value, wanted[name], atol=close, rtol=close)
    torch.testing.assert_close(found.alphas_cumprod, base.alphas_cumprod)
    assert len(found.fingerprint) == 16 and found.codec.scaling_factor == 0.18215


def test_mistakes_are_one_sentence(single, tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(single, path)
    with pytest.raises(UserError, match="another model than Stable Diffusion"):
        load_base(path, UNET | {"cross_attention_dim": 24}, VAE)
    save_file({name: v for name, v in single.items() if not name.startswith(VAE_PREFIX)}, path)
    with pytest.raises(UserError, match="lacks 'first_stage_model"):
        load_base(path, UNET, VAE)
    save_file(single, path, {"modelspec.prediction_type": "v"})
    with pytest.raises(UserError, match="predicts 'v_prediction'"):
        load_base(path, UNET, VAE)
    path.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="no safetensors file"):
        load_base(path, UNET, VAE)
    other = tmp_path / "model.ckpt"
    torch.save({"state_dict": single, "callback": pytest.fail}, other)  # would import and run
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        load_base(other, UNET, VAE)
