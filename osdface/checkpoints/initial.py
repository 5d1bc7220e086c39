"""Training that starts from trained weights: an export folder or the three released files (R)."""

from pathlib import Path
from typing import Any

from osdface.checkpoints.export import check_base, load_restorer
from osdface.checkpoints.folder import read_config
from osdface.checkpoints.lora_file import read_lora
from osdface.checkpoints.opening import (
    CONVS_RELEASED,
    LORA_FILE,
    VRE_RELEASED,
    missing_files,
    read_released,
)
from osdface.errors import UserError
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import load_lora_state
from osdface.networks.prompts import own_state


def is_export(folder: Path) -> bool:
    """Returns whether a folder is an export folder; else it must hold the released files.

    Raises:
        UserError: It is neither.
    """
    if (folder / "config.json").is_file():
        return True
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name an export folder or the released files'.")
    if missing := missing_files(folder):
        raise UserError(
            f"{folder} is no export folder (it has no config.json) and no folder of the released "
            f"files (it lacks {', '.join(missing)})."
        )
    return False


def lora_options(folder: Path) -> dict[str, Any]:
    """Returns ``{"rank", "alpha", "targets"}`` with which a folder's LoRA was trained.

    Raises:
        UserError: The folder or its LoRA is missing or of another kind.
    """
    if is_export(folder):
        return dict(read_config(folder, "osdface")["lora"])
    return read_lora(folder / LORA_FILE)[1]


def adaptation_keys(folder: Path) -> dict[str, Any]:
    """Returns the keys of ``scale.stage2`` that say which layers of the base are trained."""
    lora = lora_options(folder)
    found: dict[str, Any] = {f"lora_{name}": lora[name] for name in ("rank", "alpha", "targets")}
    facts = read_config(folder, "osdface") if is_export(folder) else {}
    targets = facts.get("lora_vae", {}).get("targets")
    return found | {
        "lora_vae_targets": targets,
        "trained_layers": list(facts.get("trained_layers", [])),
    }


def vre_source(folder: Path) -> Path:
    """Returns what :func:`osdface.checkpoints.export.load_vre` reads of the folder."""
    return folder if is_export(folder) else folder / VRE_RELEASED


def load_initial(folder: Path, generator: OneStepGenerator, fingerprint: str) -> None:
    """Fills a generator, built with the folder's VRE and LoRA options, with its trained weights.

    Args:
        folder: Export folder of stage 2 or a folder with the three released files.
        generator: Has LoRA and a prompt source, both fresh.
        fingerprint: Of the base at hand, which an export's must be.

    Raises:
        UserError: Something is missing, or was trained on another base or with another prompt.
    """
    if is_export(folder):
        check_base(folder, fingerprint)
        load_restorer(folder, generator)
        return
    source: Any = generator.prompt_source
    if source.kind != "distinct":
        raise UserError(
            f"The released files in {folder} have the prompt 'distinct', the run at hand "
            f"{source.kind!r}: set vre.kind=distinct."
        )
    parts = read_released(folder)
    released = own_state(parts.prompt_source)
    for name, own in own_state(source).items():
        if released[name].shape != own.shape:
            raise UserError(
                f"{folder / CONVS_RELEASED}: {name.removeprefix('convs.')} has shape "
                f"{tuple(released[name].shape)}, this base and scale need {tuple(own.shape)}: "
                "base.path= must be the base they were trained on."
            )
    load_lora_state(generator.unet, parts.lora)
    source.load_state_dict(released, strict=False)
