"""OSEDiff's checkpoints, ``osediff.pkl`` and ``osediff_face.pkl``, read as tensors alone (R).

A file is a dictionary that ``torch.save`` wrote: ``rank_unet`` and ``rank_vae``; four lists of the
layers that have LoRA, ``unet_lora_encoder_modules``, ``unet_lora_decoder_modules``,
``unet_lora_others_modules`` and ``vae_lora_encoder_modules``; ``state_dict_unet`` with the LoRA and
``conv_in`` of the UNet, ``state_dict_vae`` with the LoRA of the VAE's encoder. Tensors are named as
peft names parameters, ``conv_in.lora_A.default_encoder.weight``, one adapter a list. No alpha is
written: the code leaves it at peft's default, 8, so that rank 4 means a scale of 2.

Source: ``OSEDiff_test.load_ckpt`` in osediff.py of github.com/cswry/OSEDiff (Apache-2.0) for what
is read; ``save_model`` of its training code, as public forks show it, for what is written. The
files themselves were never at hand.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from osdface.checkpoints.lora_weights import LoRAWeights
from osdface.errors import UserError
from osdface.pickles import load_pickle

ALPHA = 8.0  # R: peft's default, which the released code relies on
TIMESTEP = 999  # R
# Key of a list of layers -> the adapter that these layers have (R).
UNET_LISTS = {
    "unet_lora_encoder_modules": "default_encoder",
    "unet_lora_decoder_modules": "default_decoder",
    "unet_lora_others_modules": "default_others",
}
VAE_LISTS = {"vae_lora_encoder_modules": "default_encoder"}
_STATES = ("state_dict_unet", "state_dict_vae")
_RANKS = ("rank_unet", "rank_vae")
KEYS = (*_RANKS, *UNET_LISTS, *VAE_LISTS, *_STATES)
_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<half>[AB])\.(?:(?P<adapter>\w+)\.)?weight")
# peft before 0.7 kept a layer's own weight beside its LoRA, later ones below `base_layer`.
_CONV_IN = re.compile(r"conv_in\.(?:base_layer\.)?(weight|bias)")
_PREFIXES = ("base_model.model.", "unet.", "vae.")


@dataclass
class OSEDiffWeights:
    """What one of OSEDiff's files holds.

    Attributes:
        unet: LoRA of the UNet; ``conv_in`` has none left.
        vae: LoRA of the VAE's encoder and ``quant_conv``.
        conv_in: ``weight`` and ``bias`` of the UNet's first convolution, which was trained as a
            whole and through LoRA: the latter is added here.
    """

    unet: LoRAWeights
    vae: LoRAWeights
    conv_in: dict[str, Tensor]


def is_osediff(state: Any) -> bool:
    """Returns whether the content of a pickled file looks like one of OSEDiff's."""
    return isinstance(state, dict) and any(key in state for key in (*_STATES, *UNET_LISTS))


def read_osediff(path: str | Path, state: Any = None) -> OSEDiffWeights:
    """Reads ``osediff.pkl`` or ``osediff_face.pkl``; no code in the file runs.

    Args:
        path: The file.
        state: Its content, where it was read already.

    Raises:
        UserError: It is missing, truncated or another file, or a tensor is missing, unknown or of
            another rank than the file says; the first one is named.
    """
    found = load_pickle(path) if state is None else state
    _check(found, path)
    unet = _lora(found, path, "unet", UNET_LISTS)
    vae = _lora(found, path, "vae", VAE_LISTS)
    conv_in = _conv_in(found["state_dict_unet"], path)
    if "conv_in" in unet.layers:
        update = unet.update("conv_in")
        if update.shape != conv_in["weight"].shape:
            raise UserError(
                f"{path}: the LoRA of 'conv_in' does not fit its weight, "
                f"{tuple(conv_in['weight'].shape)}."
            )
        conv_in["weight"] = conv_in["weight"] + update
        del unet.layers["conv_in"]
    return OSEDiffWeights(unet, vae, conv_in)


def _check(found: Any, path: str | Path) -> None:
    if not is_osediff(found):
        raise UserError(f"{path} is no checkpoint of OSEDiff: it has no state_dict_unet.")
    if missing := [key for key in KEYS if key not in found]:
        raise UserError(f"{path} lacks {missing[0]!r}: it is no whole checkpoint of OSEDiff.")
    if other := sorted(str(key) for key in found if key not in KEYS):
        raise UserError(
            f"{path} also holds {other[0]!r}, which OSEDiff's own checkpoints do not: it belongs "
            "to another method built on it, and leaving that out would restore other pictures."
        )
    for key in _RANKS:
        if type(found[key]) is not int or found[key] < 1:
            raise UserError(f"{path}: {key!r} is no rank.")
    for key in (*UNET_LISTS, *VAE_LISTS):
        value = found[key]
        if not isinstance(value, (list, tuple)) or not all(isinstance(n, str) for n in value):
            raise UserError(f"{path}: {key!r} is no list of layers.")
    for key in _STATES:
        value = found[key]
        if not _is_table(value):
            raise UserError(f"{path}: {key!r} is no table of tensors.")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.layout == torch.strided
        for name, tensor in value.items()
    )


def _plain_name(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _adapters(found: Any, path: str | Path, lists: dict[str, str]) -> dict[str, str]:
    """Layer -> its adapter. Lists may name a layer twice, which the training code does."""
    adapters: dict[str, str] = {}
    for key, adapter in lists.items():
        for layer in set(found[key]):
            if layer in adapters:
                raise UserError(f"{path}: the layer {layer!r} has two adapters.")
            adapters[layer] = adapter
    return adapters


def _lora(found: Any, path: str | Path, part: str, lists: dict[str, str]) -> LoRAWeights:
    adapters, rank = _adapters(found, path, lists), found[f"rank_{part}"]
    halves: dict[tuple[str, str], Tensor] = {}
    for name, tensor in found[f"state_dict_{part}"].items():
        match = _LORA.fullmatch(_plain_name(name))
        if match is None:
            if part == "unet" and _CONV_IN.fullmatch(_plain_name(name)):
                continue
            raise UserError(f"{path} holds the unknown tensor {name!r} in 'state_dict_{part}'.")
        layer, adapter = match["layer"], match["adapter"]
        # Without an adapter's name: peft leaves it out of the state of a single adapter.
        if layer not in adapters or adapter not in (None, adapters[layer]):
            raise UserError(f"{path} holds {name!r}, but its lists of layers do not name it.")
        if (layer, match["half"]) in halves:
            raise UserError(f"{path} holds {name!r} a second time, under another name.")
        halves[layer, match["half"]] = _checked(path, name, tensor, rank, match["half"])
    return LoRAWeights(rank, ALPHA, _paired(path, part, adapters, halves))


def _checked(path: str | Path, name: str, tensor: Tensor, rank: int, half: str) -> Tensor:
    dimension = 0 if half == "A" else 1
    # A convolution's kernel is A's, that of B is 1x1.
    kernel = all(side == 1 for side in tensor.shape[2:]) or half == "A"
    if tensor.ndim not in (2, 4) or tensor.shape[dimension] != rank or not kernel:
        shape = tuple(tensor.shape)
        raise UserError(f"{path}: {name!r} has shape {shape}, which is no LoRA of rank {rank}.")
    return tensor.float()


def _paired(
    path: str | Path, part: str, layers: Iterable[str], halves: dict[tuple[str, str], Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    for layer in layers:
        for half in "AB":
            if (layer, half) not in halves:
                raise UserError(
                    f"{path} lacks lora_{half} of the layer {layer!r} in 'state_dict_{part}': the "
                    "file is incomplete."
                )
        if halves[layer, "A"].ndim != halves[layer, "B"].ndim:
            raise UserError(f"{path}: lora_A and lora_B of the layer {layer!r} do not fit.")
    return {layer: (halves[layer, "A"], halves[layer, "B"]) for layer in sorted(layers)}


def _conv_in(state: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if match := _CONV_IN.fullmatch(_plain_name(key)):
            if match[1] in found:
                raise UserError(f"{path} holds {key!r} a second time, under another name.")
            found[match[1]] = value.float()
    for name in ("weight", "bias"):
        if name not in found:
            raise UserError(f"{path} lacks the {name} of 'conv_in': the file is incomplete.")
    return found
