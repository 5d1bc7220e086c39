"""The export folder: the only thing that stages, cache, ablation and restorer exchange.

``config.json`` with a format version, ``vre.safetensors``, and for a restorer also
``prompt_convs.safetensors`` and ``pytorch_lora_weights.safetensors`` (pipeline form). Variants of
the prompt have ``prompt.safetensors`` in place of the convolutions; not all of them have a VRE.

Format version 2 may name another folder's VRE in place of a copy, such as ``"vre": "shipped:vre"``.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from osdface.checkpoints.lora_file import save_lora
from osdface.checkpoints.released import load_released_embedder
from osdface.errors import UserError
from osdface.files import read_json, write_json
from osdface.networks.autoencoder import VQConfig
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import load_lora_state, lora_state
from osdface.networks.prompts import (
    KINDS,
    VISUAL_KINDS,
    build_prompt_source,
    own_state,
    prompt_facts,
)
from osdface.paths import find_weight

FORMAT_VERSION = 1
REFERENCE_VERSION = 2  # written only where the VRE is a reference, so that 1 is read everywhere
VRE_FILE = "vre.safetensors"
CONVS_FILE = "prompt_convs.safetensors"
PROMPT_FILE = "prompt.safetensors"
LORA_FILE = "pytorch_lora_weights.safetensors"


def save_tensors(state: dict[str, Tensor], path: Path) -> None:
    """Writes tensors as a safetensors file, not atomically."""
    save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file; a missing or broken one is a UserError."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or no safetensors file: {error}.") from error


def read_config(folder: str | Path, kind: str | None = None) -> dict[str, Any]:
    """Reads and checks the config.json of an export folder.

    Args:
        folder: The export folder.
        kind: "vre" or "osdface" where only that will do; an "osdface" folder also holds a VRE.

    Returns:
        Its content. Where it names another folder's VRE, ``vre`` and ``input_range`` are that
        one's, and ``vre_folder`` is the folder.

    Raises:
        UserError: It is no export folder, of a newer format, or of the wrong kind.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} is no export folder: it has no config.json.")
    try:
        config = read_json(path)
        version = int(config["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no export configuration: it has no format_version.") from error
    if version > REFERENCE_VERSION:
        raise UserError(
            f"{path} has format version {version}, this osdface reads up to {REFERENCE_VERSION}: "
            "update osdface."
        )
    if kind is not None and config["kind"] == "dictionary":
        raise UserError(
            f"{folder} holds only the HQ dictionary: a VRE needs the LQ one, so name an export of "
            "experiment=vre or experiment=association."
        )
    if kind == "osdface" and config["kind"] != "osdface":
        raise UserError(f"{folder} holds only a VRE: name the export of a stage-2 run.")
    if isinstance(config.get("vre"), str):
        config |= _referenced_vre(config["vre"])
    return config


def _referenced_vre(name: str) -> dict[str, Any]:
    """What config.json would say had the VRE been copied, and where its tensors are instead."""
    folder = find_weight(name)
    found = read_config(folder, "vre")
    return {
        "vre": found["vre"],
        "input_range": found.get("input_range", [-1.0, 1.0]),
        "vre_folder": str(folder),
    }


def save_vre(
    folder: str | Path,
    vre_config: VQConfig,
    state: dict[str, Tensor],
    extra: dict[str, Any] | None = None,
    input_range: tuple[float, float] = (-1.0, 1.0),
) -> None:
    """Writes a stage-1 export: the LQ side that the VRE keeps.

    Args:
        folder: Target, created; make it atomic with :func:`osdface.files.atomic_folder`.
        vre_config: Sizes.
        state: State of a :class:`VisualRepresentationEmbedder`.
        extra: Facts for config.json, such as how it was trained.
        input_range: The embedder's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(state, folder / VRE_FILE)
    facts = {
        "format_version": FORMAT_VERSION,
        "kind": "vre",
        "vre": vre_config.to_dict(),
        "input_range": list(input_range),
    }
    write_json(folder / "config.json", facts | (extra or {}))


def save_dictionary(
    folder: str | Path, vre_config: VQConfig, extra: dict[str, Any] | None = None
) -> None:
    """Writes the config.json of a stage-1 export of the HQ dictionary alone.

    Args:
        folder: Target, created; the dictionary itself is put beside it.
        vre_config: Sizes.
        extra: Further facts for config.json.
    """
    facts = {
        "format_version": FORMAT_VERSION,
        "kind": "dictionary",
        "vre": vre_config.to_dict(),
    }
    write_json(Path(folder) / "config.json", facts | (extra or {}))


def load_vre(folder: str | Path, count: int = 77) -> VisualRepresentationEmbedder:
    """Reads the VRE of an export folder of either kind, or of the released file, in float32.

    Args:
        folder: Export folder, or ``associate_2.ckpt``.
        count: Selected entries.

    Raises:
        UserError: The folder or a tensor of it is missing or does not fit; the first is named.
    """
    if Path(folder).is_file():
        released = load_released_embedder(folder, count=count)
        assert isinstance(released, VisualRepresentationEmbedder)
        return released
    config = read_config(folder, "vre")
    if "vre" not in config:
        raise UserError(f"{folder} holds no VRE: its prompt is the same for every image.")
    low, high = config.get("input_range", (-1.0, 1.0))
    embedder = VisualRepresentationEmbedder(
        VQConfig.from_dict(config["vre"]), count, (float(low), float(high))
    )
    file = Path(config.get("vre_folder", folder)) / VRE_FILE
    state = load_tensors(file)
    own = embedder.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            raise UserError(f"{file}: tensor {key!r} is missing or does not fit.")
    embedder.load_state_dict({key: value.float() for key, value in state.items()})
    return embedder.requires_grad_(False).eval()


def check_base(folder: str | Path, fingerprint: str) -> None:
    """Raises UserError if a stage-2 export was trained on another base than the one at hand."""
    base = read_config(folder, "osdface")["base"]
    if base["fingerprint"] != fingerprint:
        raise UserError(
            f"{folder} was trained on another base ({base['path']}, {base['fingerprint']}) than "
            f"the one at hand ({fingerprint}): give base.path= of that one."
        )


def save_restorer(
    folder: str | Path,
    generator: OneStepGenerator,
    lora: dict[str, Any],
    base: dict[str, Any],
    extra: dict[str, Any] | None = None,
) -> None:
    """Writes a stage-2 export of an OSDFace generator.

    Args:
        folder: Target, created.
        generator: Trained generator with any prompt source.
        lora: ``{"rank", "alpha", "targets"}``.
        base: ``{"path", "fingerprint"}`` of the base, which is not copied.
        extra: Further facts for config.json.
    """
    folder = Path(folder)
    source: Any = generator.prompt_source
    facts: dict[str, Any] = {"format_version": FORMAT_VERSION, "kind": "osdface"}
    if (embedder := getattr(source, "embedder", None)) is not None:
        save_vre(folder, embedder.config, embedder.state_dict(), None, embedder.input_range)
        facts |= {"vre": embedder.config.to_dict(), "input_range": list(embedder.input_range)}
    folder.mkdir(parents=True, exist_ok=True)
    prompt_dim = int(generator.unet.config.cross_attention_dim)
    file, prefix = _prompt_file(source.kind)
    state = {key.removeprefix(prefix): value for key, value in own_state(source).items()}
    if state:
        save_tensors(state, folder / file)
    save_lora(folder / LORA_FILE, lora_state(generator.unet), lora)
    facts |= {
        "prompt": prompt_facts(source, prompt_dim),
        "timestep": generator.timestep,
        "lora": lora,
        "base": base,
    }
    write_json(folder / "config.json", facts | (extra or {}))


def _prompt_file(kind: str) -> tuple[str, str]:
    """File of a prompt source's own tensors and the prefix that its names there lack."""
    return (CONVS_FILE, "convs.") if kind == "distinct" else (PROMPT_FILE, "")


def load_prompt_source(folder: str | Path) -> nn.Module:
    """Builds the trained prompt source of a stage-2 export, of whatever kind, in float32.

    Raises:
        UserError: The folder is of another kind, or a tensor is missing or does not fit.
    """
    folder = Path(folder)
    facts = dict(read_config(folder, "osdface")["prompt"])
    kind = facts.pop("kind", "distinct")
    if kind not in KINDS:
        raise UserError(f"{folder} has the unknown prompt {kind!r}: update osdface.")
    file, prefix = _prompt_file(kind)
    state = {}
    if (folder / file).is_file() or kind == "distinct":
        state = {prefix + key: value for key, value in load_tensors(folder / file).items()}
    count = facts.pop("count")
    if kind in VISUAL_KINDS:
        facts["embedder"] = load_vre(folder, count)
    elif kind == "text_prompt":
        facts["text"] = torch.zeros(count, facts["prompt_dim"])
    if "prompt_dim" not in facts and "convs.conv2.bias" in state:
        facts["prompt_dim"] = len(state["convs.conv2.bias"])  # exports of before
    source = build_prompt_source(kind, **facts, count=count)
    own = own_state(source)
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            name = key.removeprefix(prefix)
            raise UserError(f"{folder}/{file}: tensor {name!r} is missing or does not fit.")
    source.load_state_dict(state, strict=False)
    return source.eval()


def load_restorer(folder: str | Path, generator: OneStepGenerator) -> OneStepGenerator:
    """Loads LoRA and prompt source of a stage-2 export into a generator built alike.

    Args:
        folder: Export folder of kind "osdface".
        generator: Has LoRA of the same rank and targets, and a prompt source of the same kind.

    Raises:
        UserError: The folder is of another kind, or a tensor is missing or does not fit.
    """
    source: Any = generator.prompt_source
    loaded: Any = load_prompt_source(folder)
    if loaded.kind != source.kind:
        raise UserError(
            f"{folder} has the prompt {loaded.kind!r}, the run at hand {source.kind!r}: set "
            f"vre.kind={loaded.kind}."
        )
    own, state = source.state_dict(), loaded.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            raise UserError(f"{folder}: tensor {key!r} of the prompt is missing or does not fit.")
    load_lora_state(generator.unet, load_tensors(Path(folder) / LORA_FILE))
    source.load_state_dict(state)
    if hasattr(source, "embedder"):
        source.embedder.input_range = loaded.embedder.input_range
        source.embedder.count = loaded.embedder.count
    return generator
