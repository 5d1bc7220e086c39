"""Networks as safetensors files that carry their architecture in the metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from osdface.errors import UserError
from osdface.files import atomic_path


def save_network(
    network: nn.Module,
    path: str | Path,
    architecture: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes the weights atomically as safetensors, the architecture as JSON in the metadata."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    metadata = {**(notes or {}), "architecture": json.dumps(dict(architecture))}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the metadata of a safetensors file; UserError if it is not one."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file ({error}).") from None


def read_architecture(path: str | Path, kind: str) -> dict[str, Any]:
    """Returns the architecture that :func:`save_network` wrote; UserError if it is no ``kind``."""
    architecture = json.loads(read_metadata(path).get("architecture", "{}"))
    if architecture.get("type") != kind:
        raise UserError(f"{path} holds {architecture.get('type', 'no architecture')}, not {kind}.")
    return dict(architecture)
