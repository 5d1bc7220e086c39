"""The export folder: the only thing that stages, cache, ablation and restorer exchange.

``config.json`` with a format version, ``vre.safetensors``, and for a restorer also
``prompt_convs.safetensors`` and ``pytorch_lora_weights.safetensors`` (pipeline form). Variants of
the prompt have ``prompt.safetensors`` in place of the convolutions; not all of them have a VRE.

Format version 4 has, beside a UNet's LoRA, ``vae_lora_weights.safetensors`` of the VAE encoder or
``trained_layers.safetensors`` of layers that were trained whole, or both.

Format version 2 may name another folder's VRE in place of a copy, such as ``"vre": "shipped:vre"``.

Here is stage 2's; what both kinds share is in :mod:`osdface.checkpoints.folder`, stage 1's in
:mod:`osdface.checkpoints.vre_export`. All of it can be imported from here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osdface.checkpoints.folder import (
    ADAPTED_VERSION,
    CONVS_FILE,
    FORMAT_VERSION,
    LAYERS_FILE,
    LORA_FILE,
    PROMPT_FILE,
    REFERENCE_VERSION,
    VAE_LORA_FILE,
    VRE_FILE,
    load_tensors,
    read_config,
    save_tensors,
)
from osdface.checkpoints.lora_file import save_lora
from osdface.checkpoints.vre_export import load_vre, save_dictionary, save_vre
from osdface.errors import UserError
from osdface.files import write_json
from osdface.networks.adaptation import (
    Adaptation,
    encoder_lora_state,
    layer_state,
    load_trained,
)
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import lora_state
from osdface.networks.prompts import (
    KINDS,
    TEXT_KINDS,
    VISUAL_KINDS,
    build_prompt_source,
    own_state,
    prompt_facts,
)

__all__ = [
    "CONVS_FILE",
    "FORMAT_VERSION",
    "LORA_FILE",
    "PROMPT_FILE",
    "REFERENCE_VERSION",
    "VRE_FILE",
    "check_base",
    "load_prompt_source",
    "load_restorer",
    "load_tensors",
    "load_vre",
    "read_config",
    "save_dictionary",
    "save_restorer",
    "save_tensors",
    "save_vre",
]


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
    trained: Adaptation | dict[str, Any],
    base: dict[str, Any],
    extra: dict[str, Any] | None = None,
) -> None:
    """Writes a stage-2 export of a one-step generator.

    Args:
        folder: Target, created.
        generator: Trained generator with any prompt source.
        trained: What of the base is trained; ``{"rank", "alpha", "targets"}`` for a LoRA alone.
        base: ``{"path", "fingerprint"}`` of the base, which is not copied.
        extra: Further facts for config.json.
    """
    folder = Path(folder)
    trained = trained if isinstance(trained, Adaptation) else Adaptation(trained)
    version = ADAPTED_VERSION if trained.further else FORMAT_VERSION
    facts = {"format_version": version, "kind": "osdface"}
    facts |= save_prompt_source(folder, generator)
    save_lora(folder / LORA_FILE, lora_state(generator.unet), trained.lora)
    if trained.lora_vae:
        save_tensors(encoder_lora_state(generator.codec), folder / VAE_LORA_FILE)
    if trained.trained_layers:
        layers = layer_state(generator.unet, trained.trained_layers)
        save_tensors(layers, folder / LAYERS_FILE)
    facts |= {"timestep": generator.timestep, "lora": trained.lora, "base": base} | trained.further
    write_json(folder / "config.json", facts | (extra or {}))


def read_adaptation(folder: str | Path) -> tuple[Adaptation, dict[str, dict[str, Tensor]]]:
    """Reads what a stage-2 export trained of its base.

    Returns:
        Which layers, and their tensors as arguments of
        :func:`osdface.networks.adaptation.load_trained`.

    Raises:
        UserError: The folder is of another kind, or a file is missing.
    """
    folder = Path(folder)
    facts = read_config(folder, "osdface")
    layers = tuple(facts.get("trained_layers", ()))
    trained = Adaptation(dict(facts["lora"]), dict(facts.get("lora_vae", {})), layers)
    tensors = {
        "lora": load_tensors(folder / LORA_FILE),
        "lora_vae": load_tensors(folder / VAE_LORA_FILE) if trained.lora_vae else {},
        "layers": load_tensors(folder / LAYERS_FILE) if layers else {},
    }
    return trained, tensors


def save_prompt_source(folder: Path, generator: OneStepGenerator) -> dict[str, Any]:
    """Writes VRE and prompt of a generator; returns what config.json has to say of them."""
    source: Any = generator.prompt_source
    facts: dict[str, Any] = {}
    if (embedder := getattr(source, "embedder", None)) is not None:
        save_vre(folder, embedder.config, embedder.state_dict(), None, embedder.input_range)
        facts |= {"vre": embedder.config.to_dict(), "input_range": list(embedder.input_range)}
    folder.mkdir(parents=True, exist_ok=True)
    file, prefix = _prompt_file(source.kind)
    state = {key.removeprefix(prefix): value for key, value in own_state(source).items()}
    if state:
        save_tensors(state, folder / file)
    prompt_dim = int(generator.unet.config.cross_attention_dim)
    return facts | {"prompt": prompt_facts(source, prompt_dim)}


def _prompt_file(kind: str) -> tuple[str, str]:
    """File of a prompt source's own tensors and the prefix that its names there lack."""
    return (CONVS_FILE, "convs.") if kind == "distinct" else (PROMPT_FILE, "")


def load_prompt_source(folder: str | Path) -> nn.Module:
    """Builds the trained prompt source of a restorer's folder, of whatever kind, in float32.

    Raises:
        UserError: The folder is of another kind, or a tensor is missing or does not fit.
    """
    folder = Path(folder)
    facts = dict(read_config(folder, "restorer")["prompt"])
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
    elif kind in TEXT_KINDS:
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
    load_trained(generator.unet, generator.codec, **read_adaptation(folder)[1])
    source.load_state_dict(state)
    if hasattr(source, "embedder"):
        source.embedder.input_range = loaded.embedder.input_range
        source.embedder.count = loaded.embedder.count
    return generator
