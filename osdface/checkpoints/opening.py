"""From whatever a trained restorer lies in to a generator with merged LoRA.

An export folder, merged or of a run, a checkpoint of a run
(:mod:`osdface.checkpoints.run_checkpoint`), the three released files (R), one of OSEDiff's
checkpoints, ``.pkl`` (R), or the word ``tiny`` for the restorer that is shipped.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osdface.checkpoints.export import load_prompt_source, read_adaptation
from osdface.checkpoints.folder import LORA_FILE, MERGED, read_config
from osdface.checkpoints.lora_file import read_lora
from osdface.checkpoints.merged import BASE_FOLDER
from osdface.checkpoints.osediff import TIMESTEP, read_osediff
from osdface.checkpoints.released import load_released_embedder
from osdface.checkpoints.run_checkpoint import read_run_checkpoint
from osdface.errors import UserError
from osdface.networks.adaptation import (
    UNET_PREFIX,
    VAE_PREFIX,
    Adaptation,
    adapt,
    load_trained,
    merge,
)
from osdface.networks.base import DiffusionBase, load_base
from osdface.networks.base_files import find_base
from osdface.networks.embedder import PromptConvs
from osdface.networks.generator import OneStepGenerator
from osdface.networks.prompts import FixedPrompt
from osdface.networks.text import load_text_encoder
from osdface.paths import assets_dir

TINY = "tiny"
# As published; the LoRA stands in `LORA_FILE` in both layouts (R).
VRE_RELEASED, CONVS_RELEASED = "associate_2.ckpt", "embedding_change_weights.pth"


@dataclass
class TrainedParts:
    """What stage 2 trained, and the base that it was trained on.

    Attributes:
        prompt_source: In float32.
        lora: Tensors in pipeline form; none where they are merged into the base.
        lora_options: ``{"rank", "alpha", "targets"}``; empty where there are none.
        lora_vae: LoRA tensors of the VAE encoder, ``vae.<module>.lora_A.weight``.
        lora_vae_options: Their ``{"rank", "alpha", "targets"}``, targets by full name.
        layers: Tensors of layers that are trained whole, ``unet.conv_in.weight``.
        text: Words whose embedding by the base's text encoder is the prompt, which
            :func:`open_base` then makes; None where ``prompt_source`` has all.
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
    lora_vae: dict[str, Tensor] = field(default_factory=dict)
    lora_vae_options: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Tensor] = field(default_factory=dict)
    text: str | None = None

    @property
    def adaptation(self) -> Adaptation:
        """Which layers of the base are trained."""
        layers = tuple(sorted({name.rpartition(".")[0] for name in self.layers}))
        return Adaptation(self.lora_options, self.lora_vae_options, layers)

    def put_into(self, base: DiffusionBase) -> None:
        """Adapts a base and fills it; nothing where it is merged already."""
        if self.lora_options:
            # Building modules draws weights: whoever loads them keeps the random stream they had.
            with torch.random.fork_rng(devices=[]):
                adapt(base, self.adaptation)
            load_trained(base.unet, base.codec, self.lora, self.lora_vae, self.layers)


def read_export(folder: Path) -> TrainedParts:
    """Reads an export folder of stage 2, of a run or merged."""
    config = read_config(folder, "restorer")
    merged = config["kind"] == MERGED
    tensors: dict[str, Any]
    trained, tensors = (Adaptation({}), {"lora": {}}) if merged else read_adaptation(folder)
    return TrainedParts(
        load_prompt_source(folder),
        lora_options=trained.lora,
        timestep=int(config["timestep"]),
        base=str(folder / BASE_FOLDER) if merged else config["base"]["path"],
        fingerprint=config["base"]["fingerprint"],
        resolution=config.get("resolution"),
        lora_vae_options=trained.lora_vae,
        **tensors,
    )


def read_released(folder: Path) -> TrainedParts:
    """Reads a folder with the three released files (R); sizes come from the tensors."""
    lora, options = read_lora(folder / LORA_FILE)
    source = load_released_embedder(folder / VRE_RELEASED, folder / CONVS_RELEASED)
    return TrainedParts(source, lora, options)


def read_osediff_parts(path: Path) -> TrainedParts:
    """Reads one of OSEDiff's checkpoints (R); its prompt is the base's empty one by default."""
    weights = read_osediff(path)
    return TrainedParts(
        FixedPrompt(torch.zeros(1, 1)),
        weights.unet.state(UNET_PREFIX),
        weights.unet.options(),
        timestep=TIMESTEP,
        lora_vae=weights.vae.state(VAE_PREFIX),
        lora_vae_options=weights.vae.options(),
        layers={f"{UNET_PREFIX}conv_in.{name}": own for name, own in weights.conv_in.items()},
        text="",
    )


def prompt_width(lora: dict[str, Tensor]) -> int:
    """Returns the width of the prompt that a UNet's LoRA was trained with."""
    for name, value in lora.items():
        if name.endswith("attn2.to_k.lora_A.weight"):
            return int(value.shape[1])
    raise UserError("The LoRA has none on the cross-attention: the prompt's width is not known.")


def missing_files(folder: Path) -> list[str]:
    """Returns which of the three released files a folder lacks."""
    names = (VRE_RELEASED, LORA_FILE, CONVS_RELEASED)
    return [name for name in names if not (folder / name).is_file()]


def read_parts(path: str | Path, vre: str | Path | None = None) -> TrainedParts:
    """Reads whatever ``path`` names; see :func:`open_restorer`."""
    path = assets_dir() / "restorer" if str(path) == TINY else Path(path)
    if path.is_file() and path.suffix == ".pkl":
        if vre is not None:
            raise UserError(f"vre= belongs to a .ckpt file; {path} has no VRE.")
        return read_osediff_parts(path)
    if path.is_file():
        return TrainedParts(**read_run_checkpoint(path, vre))
    if not path.is_dir():
        raise UserError(f"There is no {path}: name an export folder, a .ckpt file, or {TINY!r}.")
    if vre is not None:
        raise UserError(f"vre= belongs to a .ckpt file; {path} is a folder and brings its own.")
    if (path / "config.json").is_file():
        return read_export(path)
    if missing := missing_files(path):
        raise UserError(
            f"{path} is no export folder (it has no config.json) and no folder of the released "
            f"files (it lacks {', '.join(missing)})."
        )
    return read_released(path)


def open_base(
    parts: TrainedParts, base: str | Path | None, weights_dir: str | Path | None
) -> tuple[DiffusionBase, str]:
    """Loads the base that was named, or else that of the run; returns it and its name.

    Raises:
        UserError: It is missing or another one than the parts were trained on.
    """
    if base is not None and not parts.lora_options:
        raise UserError(f"base={base} does not belong here: a merged restorer brings its own.")
    name = parts.base if base is None else str(base)
    if name is None:
        raise UserError("Released files need base=FOLDER, Stable Diffusion 2.1-base.")
    if parts.fingerprint == "random" and base is None:
        raise UserError("It was trained on random weights, for measurements: it cannot restore.")
    try:
        folder = find_base(name, weights_dir)
    except UserError:
        if base is not None:
            raise
        raise UserError(
            f"The base {name} is not there: give base=FOLDER, the base it was trained on."
        ) from None
    found = load_base(folder)
    if parts.fingerprint and found.fingerprint != parts.fingerprint:
        raise UserError(
            f"It was trained on another base ({parts.base}, {parts.fingerprint}) than {folder} "
            f"({found.fingerprint}): give base=FOLDER of that one."
        )
    if parts.text is not None:
        parts.prompt_source = FixedPrompt(load_text_encoder(Path(folder)).embed([parts.text])[0])
    return found, name


def check_prompt(source: Any, base: DiffusionBase) -> None:
    """Raises UserError for prompt convolutions of another cross-attention width than the base's."""
    convs = getattr(source, "convs", None)
    if isinstance(convs, PromptConvs) and convs.conv2.out_channels != base.prompt_dim:
        raise UserError(
            f"Its prompt convolutions give a prompt of width {convs.conv2.out_channels}, but the "
            f"base's cross-attention takes {base.prompt_dim}: give base=FOLDER of the base that it "
            "was trained on, Stable Diffusion 2.1-base for the released files."
        )


def open_restorer(
    path: str | Path,
    base: str | Path | None = None,
    weights_dir: str | Path | None = None,
    vre: str | Path | None = None,
) -> tuple[OneStepGenerator, int]:
    """Builds a generator on the CPU in float32, its LoRA merged.

    Args:
        path: Export folder of stage 2, of a run or merged, ``.ckpt`` of a run, folder of the three
            released files, OSEDiff's ``.pkl``, or "tiny".
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
        found, _ = open_base(parts, base, weights_dir)
    check_prompt(parts.prompt_source, found)
    parts.put_into(found)
    merge(found.unet, found.codec)
    generator = OneStepGenerator(found, parts.prompt_source.float(), parts.timestep)
    resolution = parts.resolution or found.unet.config.sample_size * found.codec.downsampling
    return generator.requires_grad_(False).eval(), int(resolution)
