"""From whatever a trained restorer lies in to a generator with merged LoRA.

An export folder, a checkpoint of a run (:mod:`osdface.checkpoints.run_checkpoint`), the three
released files (R), or the word ``tiny`` for the restorer that is shipped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osdface.checkpoints.export import LORA_FILE, load_prompt_source, load_tensors, read_config
from osdface.checkpoints.released import load_released_embedder
from osdface.checkpoints.run_checkpoint import read_run_checkpoint
from osdface.errors import UserError
from osdface.networks.base import DiffusionBase, load_base
from osdface.networks.base_files import find_base
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import add_lora, load_lora_state, merge_lora
from osdface.paths import assets_dir

TINY = "tiny"
# As published; the LoRA stands in `LORA_FILE` in both layouts (R).
VRE_RELEASED, CONVS_RELEASED = "associate_2.ckpt", "embedding_change_weights.pth"
_RELEASED_ALPHA = 16.0  # R


@dataclass
class TrainedParts:
    """What stage 2 trained, and the base that it was trained on.

    Attributes:
        prompt_source: In float32.
        lora: Tensors in pipeline form.
        lora_options: ``{"rank", "alpha", "targets"}``.
        timestep: t of the one step.
        base: The base's path as its run named it; None where it is not known.
        fingerprint: The base's; empty where it is not known.
        resolution: Side of its pictures; None where it is not known.
    """

    prompt_source: nn.Module
    lora: dict[str, Tensor]
    lora_options: dict[str, Any]
    timestep: int = 399
    base: str | None = None
    fingerprint: str = ""
    resolution: int | None = None


def read_export(folder: Path) -> TrainedParts:
    """Reads an export folder of stage 2."""
    config = read_config(folder, "osdface")
    return TrainedParts(
        load_prompt_source(folder),
        load_tensors(folder / LORA_FILE),
        dict(config["lora"]),
        int(config["timestep"]),
        config["base"]["path"],
        config["base"]["fingerprint"],
        config.get("resolution"),
    )


def read_released(folder: Path) -> TrainedParts:
    """Reads a folder with the three released files (R); sizes come from the tensors."""
    lora = load_tensors(folder / LORA_FILE)
    ranks = {len(value) for key, value in lora.items() if key.endswith(".lora_A.weight")}
    if len(ranks) != 1:
        raise UserError(f"{folder / LORA_FILE} holds no LoRA of one rank: it is another file.")
    modules = {key.removeprefix("unet.").rpartition(".lora_")[0] for key in lora}
    source = load_released_embedder(folder / VRE_RELEASED, folder / CONVS_RELEASED)
    options = {"rank": ranks.pop(), "alpha": _RELEASED_ALPHA, "targets": sorted(modules)}
    return TrainedParts(source, lora, options)


def read_parts(path: str | Path, vre: str | Path | None = None) -> TrainedParts:
    """Reads whatever ``path`` names; see :func:`open_restorer`."""
    path = assets_dir() / "restorer" if str(path) == TINY else Path(path)
    if path.is_file():
        return TrainedParts(**read_run_checkpoint(path, vre))
    if not path.is_dir():
        raise UserError(f"There is no {path}: name an export folder, a .ckpt file, or {TINY!r}.")
    if vre is not None:
        raise UserError(f"vre= belongs to a .ckpt file; {path} is a folder and brings its own.")
    if (path / "config.json").is_file():
        return read_export(path)
    missing = [n for n in (VRE_RELEASED, LORA_FILE, CONVS_RELEASED) if not (path / n).is_file()]
    if missing:
        raise UserError(
            f"{path} is no export folder (it has no config.json) and no folder of the released "
            f"files (it lacks {', '.join(missing)})."
        )
    return read_released(path)


def _open_base(parts: TrainedParts, base: str | Path | None, weights_dir: Any) -> DiffusionBase:
    name = parts.base if base is None else str(base)
    if name is None:
        raise UserError("The released files need base=FOLDER, Stable Diffusion 2.1-base.")
    if parts.fingerprint == "random" and base is None:
        raise UserError("It was trained on random weights, for measurements: it cannot restore.")
    try:
        folder = find_base(name, weights_dir)
    except UserError:
        raise UserError(
            f"The base {name} is not there: give base=FOLDER, the base it was trained on."
        ) from None
    found = load_base(folder)
    if parts.fingerprint and found.fingerprint != parts.fingerprint:
        raise UserError(
            f"It was trained on another base ({parts.base}, {parts.fingerprint}) than {folder} "
            f"({found.fingerprint}): give base=FOLDER of that one."
        )
    return found


def open_restorer(
    path: str | Path,
    base: str | Path | None = None,
    weights_dir: str | Path | None = None,
    vre: str | Path | None = None,
) -> tuple[OneStepGenerator, int]:
    """Builds a generator on the CPU in float32, its LoRA merged.

    Args:
        path: Export folder of stage 2, ``.ckpt`` of a run, folder of the three released files, or
            "tiny".
        base: Diffusers folder; None takes the one that the run named.
        weights_dir: Where a base is looked for that is no path.
        vre: Of a ``.ckpt`` without its run's export beside it: the VRE it was trained with.

    Returns:
        The generator, in evaluation mode, and the side of its pictures in pixels.

    Raises:
        UserError: Something is missing, of another kind, or does not belong together.
    """
    # Building modules draws weights: whoever loads a restorer keeps the random stream they had.
    with torch.random.fork_rng(devices=[]):
        parts = read_parts(path, vre)
        found = _open_base(parts, base, weights_dir)
        add_lora(found.unet, **parts.lora_options)
    load_lora_state(found.unet, parts.lora)
    merge_lora(found.unet)
    generator = OneStepGenerator(found, parts.prompt_source.float(), parts.timestep)
    resolution = parts.resolution or found.unet.config.sample_size * found.codec.downsampling
    return generator.requires_grad_(False).eval(), int(resolution)
