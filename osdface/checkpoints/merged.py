"""A restorer in one folder, its LoRA merged: nothing else is needed to restore with it.

``config.json`` (format version 3), VRE and prompt as in a run's export, and below ``base/`` the
merged UNet, the VAE and the schedule in diffusers' layout. Training cannot go on from it.
"""

from pathlib import Path
from typing import Any

from osdface.checkpoints.export import save_prompt_source
from osdface.checkpoints.folder import MERGED, MERGED_VERSION
from osdface.files import write_json
from osdface.networks.base import DiffusionBase, folder_fingerprint, save_base
from osdface.networks.generator import OneStepGenerator

BASE_FOLDER = "base"


def save_merged(
    folder: str | Path,
    generator: OneStepGenerator,
    resolution: int,
    extra: dict[str, Any] | None = None,
) -> None:
    """Writes a generator whose LoRA is merged, in float32.

    Args:
        folder: Target, created; make it atomic with :func:`osdface.files.atomic_folder`.
        generator: As :func:`osdface.checkpoints.opening.open_restorer` gives it.
        resolution: Side of its pictures in pixels.
        extra: Further facts for config.json.
    """
    folder = Path(folder)
    facts = {"format_version": MERGED_VERSION, "kind": MERGED}
    facts |= save_prompt_source(folder, generator)
    own = DiffusionBase(generator.unet, generator.codec, generator.alphas_cumprod, "")
    save_base(own, folder / BASE_FOLDER)
    facts |= {
        "timestep": generator.timestep,
        "resolution": resolution,
        "base": {"path": BASE_FOLDER, "fingerprint": folder_fingerprint(folder / BASE_FOLDER)},
    }
    write_json(folder / "config.json", facts | (extra or {}))
