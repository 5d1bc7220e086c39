"""Stable Diffusion 2.1-base as one file: the layout of its authors' own code (LDM)."""

import re
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from osdface.checkpoints.released_names import released_name
from osdface.errors import UserError
from osdface.pickles import load_pickle

UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}


def _blocks(config: Any) -> dict[str, str]:
    """Prefixes of diffusers' UNet -> those of LDM, whose blocks are numbered through."""
    names, levels, layers = dict(_ENDS), len(config.block_out_channels), config.layers_per_block
    number = 1
    for level, kind in enumerate(config.down_block_types):
        for layer in range(layers):
            names[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{number}.0"
            if kind.startswith("CrossAttn"):
                names[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{number}.1"
            number += 1
        if level < levels - 1:
            names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    number = 0
    for level, kind in enumerate(config.up_block_types):
        crossed = kind.startswith("CrossAttn")
        for layer in range(layers + 1):
            names[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{number}.0"
            if crossed:
                names[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{number}.1"
            number += 1
        if level < levels - 1:
            ours = f"up_blocks.{level}.upsamplers.0.conv"
            names[ours] = f"output_blocks.{number - 1}.{1 + crossed}.conv"
    return names


def unet_name(name: str, blocks: dict[str, str]) -> str:
    """Returns the LDM name, below ``UNET_PREFIX``, of a tensor of diffusers' UNet."""
    for ours in sorted(blocks, key=len, reverse=True):
        if name.startswith(ours + "."):
            rest = name.removeprefix(ours + ".")
            if ".resnets." in ours:
                part, _, last = rest.partition(".")
                rest = f"{_RESNET.get(part, part)}.{last}"
            return f"{blocks[ours]}.{rest}"
    return name


def vae_name(name: str, levels: int) -> str:
    """Returns the LDM name, below ``VAE_PREFIX``, of a tensor of diffusers' AutoencoderKL."""
    # Taming's names are the same but for the one norm of an attention block.
    return re.sub(r"(attn_1|attn\.\d+)\.norm1\.", r"\1.norm.", released_name(name, levels))


def _fill(module: nn.Module, names: dict[str, str], state: dict[str, Tensor], where: Path) -> None:
    own = module.state_dict()
    filled = {}
    for name, target in own.items():
        tensor = state.get(names[name])
        if tensor is None:
            raise UserError(
                f"{where} lacks {names[name]!r}: it is no Stable Diffusion 2.1-base in one file."
            )
        if target.ndim == 2 and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor.flatten(1)
        if tensor.shape != target.shape:
            raise UserError(
                f"{where}: {names[name]!r} has shape {tuple(tensor.shape)}, not "
                f"{tuple(target.shape)}: it is another model than Stable Diffusion 2.1-base."
            )
        filled[name] = tensor.to(target.dtype)
    module.load_state_dict(filled)


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """Returns the tensors and what the file says it predicts; most say nothing: epsilon."""
    if path.suffix != ".safetensors":
        found = load_pickle(path)
        state = found.get("state_dict", found) if isinstance(found, dict) else {}
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        return tensors, "v_prediction" if "v_pred" in tensors else "epsilon"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = [n for n in file.keys() if n.startswith((UNET_PREFIX, VAE_PREFIX, "v_pred"))]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or no safetensors file: {error}.") from error
    said = metadata.get("modelspec.prediction_type", "epsilon")
    return tensors, "v_prediction" if said == "v" or "v_pred" in tensors else said


def read_single_file(
    path: Path, unet: dict[str, Any], vae: dict[str, Any]
) -> tuple[UNet2DConditionModel, AutoencoderKL, str]:
    """Reads a UNet and a VAE in float32 from one ``.safetensors`` or ``.ckpt`` file (tensors only).

    Such a file does not tell its sizes, and its averaged copies (``model_ema``) are not taken.

    Args:
        path: The file.
        unet: Arguments of ``UNet2DConditionModel``.
        vae: Arguments of ``AutoencoderKL``.

    Returns:
        The UNet, the VAE, and the kind of prediction where the file tells it, else "epsilon".

    Raises:
        UserError: The file cannot be read, a tensor is missing, or one has another size.
    """
    tensors, prediction = _read(path)
    model, autoencoder = UNet2DConditionModel(**unet), AutoencoderKL(**vae)
    blocks = _blocks(model.config)
    names = {name: UNET_PREFIX + unet_name(name, blocks) for name in model.state_dict()}
    _fill(model, names, tensors, path)
    levels = len(autoencoder.config.block_out_channels)
    names = {name: VAE_PREFIX + vae_name(name, levels) for name in autoencoder.state_dict()}
    _fill(autoencoder, names, tensors, path)
    return model, autoencoder, prediction
