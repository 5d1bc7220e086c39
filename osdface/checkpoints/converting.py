"""One trained restorer from one layout on disk into another."""

from pathlib import Path
from typing import Any

import torch

from osdface.checkpoints.export import LORA_FILE, load_tensors, save_restorer
from osdface.checkpoints.lora_file import RELEASED_ALPHA, save_lora, with_alpha
from osdface.checkpoints.opening import (
    CONVS_RELEASED,
    VRE_RELEASED,
    TrainedParts,
    check_prompt,
    open_base,
)
from osdface.checkpoints.released import (
    RELEASED_INPUT_RANGE,
    save_prompt_convs,
    save_released_embedder,
)
from osdface.errors import UserError
from osdface.files import atomic_folder
from osdface.networks.autoencoder import VQAutoencoder
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.networks.generator import OneStepGenerator

RELEASED_TIMESTEP = 399  # R


def _whole_dictionaries(
    folder: Path, embedder: VisualRepresentationEmbedder
) -> tuple[VQAutoencoder, VQAutoencoder]:
    """Reads both autoencoders of a stage-1 export, of which the VRE is the LQ one's half."""
    pair = []
    for domain in ("hq", "lq"):
        path = folder / f"dictionary_{domain}.safetensors"
        state = {key: value.float() for key, value in load_tensors(path).items()}
        autoencoder = VQAutoencoder(embedder.config)
        for key, own in autoencoder.state_dict().items():
            if key not in state or state[key].shape != own.shape:
                raise UserError(f"{path}: tensor {key!r} is missing or does not fit this VRE.")
        autoencoder.load_state_dict(state, strict=False)
        pair.append(autoencoder)
    own = embedder.state_dict()
    for key, value in pair[1].embedder_state().items():
        exact = own[key.removeprefix("quantizer.")]
        # Whole dictionaries are usually exported in float16.
        if not torch.allclose(value, exact, atol=1e-3, rtol=1e-3):
            raise UserError(f"{folder} holds another VRE than the one of the weights (at {key!r}).")
        value.copy_(exact)
    return pair[0], pair[1]


def write_released(
    parts: TrainedParts, folder: Path, dictionaries: Path | None = None
) -> list[str]:
    """Writes the three released files (R).

    Args:
        parts: With the paper's prompt and t = 399, which is all that this layout can hold.
        folder: Must not exist.
        dictionaries: Export folder of stage 1 with both whole dictionaries, for the HQ twin and
            the decoders; None leaves them out, since restoring needs neither.

    Returns:
        What the authors' own code would not make of these files, a sentence each.

    Raises:
        UserError: The layout cannot hold what was trained.
    """
    source: Any = parts.prompt_source
    if source.kind != "distinct":
        raise UserError(
            f"The released files hold the prompt 'distinct' alone; this one was trained with "
            f"vre.kind={source.kind}: keep its export folder."
        )
    if parts.timestep != RELEASED_TIMESTEP:
        raise UserError(
            f"The released files mean t = {RELEASED_TIMESTEP}; this one was trained with t = "
            f"{parts.timestep}: keep its export folder."
        )
    if further := parts.adaptation.further:
        raise UserError(
            "The released files hold a LoRA of the UNet alone; this one was trained with "
            f"{' and '.join(further)} too: keep its export folder."
        )
    options = parts.lora_options | {"alpha": RELEASED_ALPHA}
    lora = with_alpha(parts.lora, float(parts.lora_options["alpha"]), RELEASED_ALPHA)
    whole = None
    if dictionaries is not None:
        whole = _whole_dictionaries(dictionaries, source.embedder)
    with atomic_folder(folder) as temporary:
        save_released_embedder(temporary / VRE_RELEASED, source.embedder, whole)
        save_prompt_convs(temporary / CONVS_RELEASED, source.convs)
        save_lora(temporary / LORA_FILE, lora, options)
    notes = _warnings(source.embedder.input_range, int(options["rank"]))
    if whole is None:
        notes.insert(0, "associate_2.ckpt holds the VRE alone: no decoder and no HQ twin.")
    return notes


def _warnings(input_range: tuple[float, float], rank: int) -> list[str]:
    found = []
    if tuple(input_range) != RELEASED_INPUT_RANGE:
        found.append(
            f"Its VRE takes images in {list(input_range)}, which is noted in associate_2.ckpt and "
            "read by this framework; the authors' code would give it [-3, 1]."
        )
    if rank != 16:
        found.append(f"Its LoRA has rank {rank}; the authors' code expects 16.")
    return found


def write_export(
    parts: TrainedParts, folder: Path, base: str | Path | None, weights_dir: str | Path | None
) -> None:
    """Writes an export folder.

    Args:
        parts: Of any kind.
        folder: Must not exist.
        base: Folder or single file of the base; None takes the one that the parts name.
        weights_dir: Where a base is looked for that is no path.

    Raises:
        UserError: The base is missing or another, or the LoRA does not fit it.
    """
    with torch.random.fork_rng(devices=[]):
        found, place = open_base(parts, base, weights_dir)
    check_prompt(parts.prompt_source, found)
    parts.put_into(found)
    side = parts.resolution or found.unet.config.sample_size * found.codec.downsampling
    generator = OneStepGenerator(found, parts.prompt_source, parts.timestep)
    identity = {"path": place, "fingerprint": found.fingerprint}
    with atomic_folder(folder) as temporary:
        facts = {"resolution": int(side), "dictionary": "lq"}
        save_restorer(temporary, generator, parts.adaptation, identity, facts)
