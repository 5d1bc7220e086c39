"""What all export folders share: their files' names, ``config.json``, tensors."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from osdface.errors import UserError
from osdface.files import read_json
from osdface.paths import find_weight

FORMAT_VERSION = 1
REFERENCE_VERSION = 2  # written only where the VRE is a reference, so that 1 is read everywhere
MERGED_VERSION = 3  # whole pipelines: merged into a base of their own, or a graph
ADAPTED_VERSION = 4  # more of the base is trained than its UNet's LoRA
MERGED = "merged"
GRAPHS = {"onnx": "onnxruntime", "torch_export": "torch.export"}  # kinds, and what runs them
VRE_FILE = "vre.safetensors"
CONVS_FILE = "prompt_convs.safetensors"
PROMPT_FILE = "prompt.safetensors"
LORA_FILE = "pytorch_lora_weights.safetensors"
VAE_LORA_FILE = "vae_lora_weights.safetensors"
LAYERS_FILE = "trained_layers.safetensors"


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
        kind: "vre", "osdface" or "restorer" where only that will do. A restorer is a stage-2 run's
            export ("osdface") or a merged one; both also hold a VRE.

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
    if version > ADAPTED_VERSION:
        raise UserError(
            f"{path} has format version {version}, this osdface reads up to {ADAPTED_VERSION}: "
            "update osdface."
        )
    if kind is not None:
        _check_kind(folder, config["kind"], kind)
    if isinstance(config.get("vre"), str):
        config |= _referenced_vre(config["vre"])
    return config


def _check_kind(folder: str | Path, found: str, wanted: str) -> None:
    if found in GRAPHS:
        raise UserError(
            f"{folder} holds a graph that {GRAPHS[found]} runs, as its README.md tells; here the "
            "export of a run is needed, or what format=safetensors writes."
        )
    if found == "dictionary":
        raise UserError(
            f"{folder} holds only the HQ dictionary: a VRE needs the LQ one, so name an export of "
            "experiment=vre or experiment=association."
        )
    if found == "vre" and wanted != "vre":
        raise UserError(f"{folder} holds only a VRE: name the export of a stage-2 run.")
    if found == MERGED and wanted == "osdface":
        raise UserError(
            f"{folder} is merged, its LoRA is gone: it restores, but no training starts from it; "
            "name the export of the run."
        )


def _referenced_vre(name: str) -> dict[str, Any]:
    """What config.json would say had the VRE been copied, and where its tensors are instead."""
    folder = find_weight(name)
    found = read_config(folder, "vre")
    return {
        "vre": found["vre"],
        "input_range": found.get("input_range", [-1.0, 1.0]),
        "vre_folder": str(folder),
    }
