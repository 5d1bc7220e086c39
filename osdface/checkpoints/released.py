"""The released files of OSDFace's stage 1, read and written: ``associate_2.ckpt`` and its kin (R).

``associate_2.ckpt`` holds ``state_dict`` with both autoencoders under taming's names. Its attention
blocks are 1x1 convolutions where diffusers has linear layers, and hold a second norm that is never
used: dropped on import, filled with ones and zeros on export.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osdface.checkpoints.released_names import CODEBOOK, released_name, unused_norms
from osdface.errors import UserError
from osdface.files import atomic_path
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.pickles import load_pickle

PREFIXES = {"hq": "vqvae.", "lq": "vqvae_LQ."}
# The released inference maps [-1, 1] by (x - 0.5) / 0.5 once more before its encoder (R).
RELEASED_INPUT_RANGE = (-3.0, 1.0)
_OWN = ("quantizer.idle_steps",)  # bookkeeping of our training


# Our own files of this layout may have other sizes and another range; they say so under this key.
_FACTS = "osdface"


def _facts(found: Any) -> tuple[VQConfig, tuple[float, float]]:
    """Sizes and input range of a file: those of the released one, or what our exporter noted."""
    facts = found.get(_FACTS, {}) if isinstance(found, dict) else {}
    low, high = facts.get("input_range", RELEASED_INPUT_RANGE)
    sizes = VQConfig.from_dict(facts["vre"]) if "vre" in facts else VQConfig()
    return sizes, (float(low), float(high))


def _tensors(found: Any, path: str | Path, prefix: str) -> dict[str, Tensor]:
    state = found.get("state_dict", found) if isinstance(found, dict) else {}
    tensors = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if isinstance(value, Tensor) and key.startswith(prefix)
    }
    if not tensors:
        raise UserError(f"{path} has no tensor {prefix}*: it is no released stage-1 checkpoint.")
    return tensors


def _import(module: nn.Module, config: VQConfig, tensors: dict[str, Tensor], where: str) -> None:
    """Fills ``module`` from released tensors; the first mismatch is named."""
    state = {}
    for name, own in module.state_dict().items():
        if name in _OWN:
            state[name] = own
            continue
        wanted = released_name(name, len(config.channels))
        tensor = tensors.get(wanted)
        if tensor is None and ".norm1." in wanted and ".attn" in wanted:
            tensor = tensors.get(wanted.replace(".norm1.", ".norm."))  # as taming itself writes it
        if tensor is None:
            raise UserError(f"{where}{wanted} is missing: the file is incomplete or another one.")
        if own.ndim == 2 and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor.flatten(1)
        if tensor.shape != own.shape:
            raise UserError(
                f"{where}{wanted} has shape {tuple(tensor.shape)}, not {tuple(own.shape)}: it "
                "belongs to a network of other sizes."
            )
        state[name] = tensor.to(own.dtype)
    module.load_state_dict(state)


def load_released_dictionary(
    path: str | Path, domain: str, config: VQConfig | None = None
) -> VQAutoencoder:
    """Reads one half of ``associate_2.ckpt`` as an autoencoder that can be trained on.

    Args:
        path: The file.
        domain: "hq" or "lq".
        config: Sizes; None for the released ones, or those that the file names.

    Raises:
        UserError: The file cannot be read or does not fit; the first mismatch is named.
    """
    found = load_pickle(path)
    config = config or _facts(found)[0]
    autoencoder = VQAutoencoder(config)
    tensors = _tensors(found, path, PREFIXES[domain])
    _import(autoencoder, config, tensors, f"{path}: {PREFIXES[domain]}")
    return autoencoder


def _export(module: VQAutoencoder | VisualRepresentationEmbedder, prefix: str) -> dict[str, Tensor]:
    levels = len(module.config.channels)
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if name not in _OWN:
            released = released_name(name, levels)
            value = value.detach().cpu().contiguous()
            is_projection = value.ndim == 2 and released != CODEBOOK
            state[released] = value[..., None, None] if is_projection else value
    for name in unused_norms(list(state)):
        like = state[name.replace("norm2", "norm1")]
        state[name] = torch.ones_like(like) if name.endswith("weight") else torch.zeros_like(like)
    return {prefix + name: value for name, value in state.items()}


def save_released_dictionaries(path: str | Path, hq: VQAutoencoder, lq: VQAutoencoder) -> None:
    """Writes both autoencoders in the layout of ``associate_2.ckpt``, atomically.

    Their input range is not noted: whoever reads the file takes it for the released one's.
    """
    state = _export(hq, PREFIXES["hq"]) | _export(lq, PREFIXES["lq"])
    with atomic_path(path) as temporary:
        torch.save({"state_dict": state}, temporary)


def save_released_embedder(
    path: str | Path,
    embedder: VisualRepresentationEmbedder,
    whole: tuple[VQAutoencoder, VQAutoencoder] | None = None,
) -> None:
    """Writes a VRE as ``associate_2.ckpt``, atomically.

    Without ``whole``, the HQ and LQ autoencoders it comes from, there is only the VRE's half of
    the LQ one.

    Sizes and input range are noted beside the tensors, under a key that the released code does not
    read: it takes [-3, 1] for granted.
    """
    facts = {"vre": embedder.config.to_dict(), "input_range": list(embedder.input_range)}
    state = _export(whole[1] if whole else embedder, PREFIXES["lq"])
    if whole:
        state |= _export(whole[0], PREFIXES["hq"])
    with atomic_path(path) as temporary:
        torch.save({"state_dict": state, _FACTS: facts}, temporary)


def load_prompt_convs(path: str | Path) -> PromptConvs:
    """Reads ``embedding_change_weights.pth``: ``conv1.*`` and ``conv2.*``, sizes from the file."""
    state: dict[str, Any] = load_pickle(path)
    wanted = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")
    for name in wanted:
        if not isinstance(state, dict) or not isinstance(state.get(name), Tensor):
            raise UserError(
                f"{path}: tensor {name!r} is missing: these are no prompt convolutions."
            )
    hidden, width = state["conv1.weight"].shape[:2]
    convs = PromptConvs(width, hidden, len(state["conv2.bias"]))
    for name, own in convs.state_dict().items():
        if state[name].numel() != own.numel():
            raise UserError(f"{path}: {name} has shape {tuple(state[name].shape)}, not 1 x 1.")
        own.copy_(state[name].reshape(own.shape))
    return convs


def save_prompt_convs(path: str | Path, convs: PromptConvs) -> None:
    """Writes prompt convolutions as ``embedding_change_weights.pth``, atomically."""
    with atomic_path(path) as temporary:
        torch.save(
            {key: value.detach().cpu() for key, value in convs.state_dict().items()}, temporary
        )


def load_released_embedder(
    associate_ckpt: str | Path,
    prompt_convs: str | Path | None = None,
    device: torch.device | str = "cpu",
    count: int = 77,
) -> VisualPrompt | VisualRepresentationEmbedder:
    """Reads the released VRE, in float32, frozen, in evaluation mode.

    Only ``vqvae_LQ.{encoder,quantize,quant_conv}`` are needed; whatever else the file holds is
    ignored. The weights expect images in [-3, 1], which the embedder maps [-1, 1] to itself.

    Args:
        associate_ckpt: ``associate_2.ckpt``.
        prompt_convs: ``embedding_change_weights.pth``; None leaves the convolutions out.
        device: Where the module goes.
        count: Selected entries.

    Returns:
        A module that maps images (B, 3, 512, 512) in [-1, 1] to the prompt (B, 77, 1024), or to
        entries (B, 77, 512) without the convolutions' file.

    Raises:
        UserError: A file cannot be read or does not fit; the first mismatch is named.
    """
    found = load_pickle(associate_ckpt)
    config, input_range = _facts(found)
    embedder = VisualRepresentationEmbedder(config, count, input_range)
    tensors = _tensors(found, associate_ckpt, PREFIXES["lq"])
    _import(embedder, config, tensors, f"{associate_ckpt}: {PREFIXES['lq']}")
    embedder.requires_grad_(False).eval().to(device)
    if prompt_convs is None:
        return embedder
    return VisualPrompt(embedder, load_prompt_convs(prompt_convs)).to(device).eval()
