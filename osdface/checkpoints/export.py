"""The export folder: the only thing that stages, cache, ablation and restorer exchange.

``config.json`` with a format version, ``vre.safetensors``, and for a restorer also
``prompt_convs.safetensors`` and ``pytorch_lora_weights.safetensors`` (pipeline form).
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from osdface.checkpoints.released import load_released_embedder
from osdface.errors import UserError
from osdface.files import read_json, write_json
from osdface.networks.autoencoder import VQConfig
from osdface.networks.embedder import PromptConvs, VisualPrompt, VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import load_lora_state, lora_state

FORMAT_VERSION = 1
VRE_FILE = "vre.safetensors"
PROMPT_FILE = "prompt_convs.safetensors"
LORA_FILE = "pytorch_lora_weights.safetensors"


def _save(state: dict[str, Tensor], path: Path) -> None:
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
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version}, this osdface reads up to {FORMAT_VERSION}: "
            "update osdface."
        )
    if kind == "osdface" and config["kind"] != "osdface":
        raise UserError(f"{folder} holds only a VRE: name the export of a stage-2 run.")
    return config


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
    _save(state, folder / VRE_FILE)
    facts = {
        "format_version": FORMAT_VERSION,
        "kind": "vre",
        "vre": vre_config.to_dict(),
        "input_range": list(input_range),
    }
    write_json(folder / "config.json", facts | (extra or {}))


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
    config = read_config(folder)
    low, high = config.get("input_range", (-1.0, 1.0))
    embedder = VisualRepresentationEmbedder(
        VQConfig.from_dict(config["vre"]), count, (float(low), float(high))
    )
    state = load_tensors(Path(folder) / VRE_FILE)
    own = embedder.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            raise UserError(f"{folder}/{VRE_FILE}: tensor {key!r} is missing or does not fit.")
    embedder.load_state_dict({key: value.float() for key, value in state.items()})
    return embedder.requires_grad_(False).eval()


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
        generator: Trained generator whose prompt source is a :class:`VisualPrompt`.
        lora: ``{"rank", "alpha", "targets"}``.
        base: ``{"path", "fingerprint"}`` of the base, which is not copied.
        extra: Further facts for config.json.
    """
    source = generator.prompt_source
    assert isinstance(source, VisualPrompt)
    embedder = source.embedder
    save_vre(folder, embedder.config, embedder.state_dict(), None, embedder.input_range)
    folder = Path(folder)
    _save(source.convs.state_dict(), folder / PROMPT_FILE)
    _save(lora_state(generator.unet), folder / LORA_FILE)
    convs: PromptConvs = source.convs
    facts = {
        "format_version": FORMAT_VERSION,
        "kind": "osdface",
        "vre": embedder.config.to_dict(),
        "input_range": list(embedder.input_range),
        "prompt": {"count": embedder.count, "hidden_dim": convs.conv1.out_channels},
        "timestep": generator.timestep,
        "lora": lora,
        "base": base,
    }
    write_json(folder / "config.json", facts | (extra or {}))


def load_restorer(folder: str | Path, generator: OneStepGenerator) -> OneStepGenerator:
    """Loads LoRA and prompt convolutions of a stage-2 export into a generator built alike.

    Args:
        folder: Export folder of kind "osdface".
        generator: Has LoRA of the same rank and targets, and a :class:`VisualPrompt`.

    Raises:
        UserError: The folder is of another kind, or a tensor is missing or does not fit.
    """
    read_config(folder, "osdface")
    source = generator.prompt_source
    assert isinstance(source, VisualPrompt)
    state = load_tensors(Path(folder) / PROMPT_FILE)
    own = source.convs.state_dict()
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            raise UserError(f"{folder}/{PROMPT_FILE}: tensor {key!r} is missing or does not fit.")
    source.convs.load_state_dict(state)
    load_lora_state(generator.unet, load_tensors(Path(folder) / LORA_FILE))
    embedder = load_vre(folder, source.embedder.count)
    source.embedder.load_state_dict(embedder.state_dict())
    source.embedder.input_range = embedder.input_range
    return generator
