"""The VRE in an export folder, of stage 1 or of a restorer."""

from pathlib import Path
from typing import Any

from torch import Tensor

from osdface.checkpoints.folder import (
    FORMAT_VERSION,
    VRE_FILE,
    load_tensors,
    read_config,
    save_tensors,
)
from osdface.checkpoints.released import load_released_embedder
from osdface.errors import UserError
from osdface.files import write_json
from osdface.networks.autoencoder import VQConfig
from osdface.networks.embedder import VisualRepresentationEmbedder


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
