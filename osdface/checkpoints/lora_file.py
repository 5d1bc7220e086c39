"""LoRA in pipeline form on disk: what ``StableDiffusionPipeline.load_lora_weights`` reads."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from osdface.errors import UserError
from osdface.networks.lora import PIPELINE_PREFIX

# diffusers' own key of a file's metadata, a JSON of peft's LoraConfig with prefixed names.
_METADATA = "lora_adapter_metadata"
RELEASED_ALPHA = 16.0  # R
_ENDS = (".lora_A.weight", ".lora_B.weight")


def save_lora(path: Path, state: dict[str, Tensor], options: dict[str, Any]) -> None:
    """Writes LoRA tensors in pipeline form, not atomically.

    Rank and alpha stand in the metadata as diffusers writes them: without these a pipeline takes
    alpha = rank, which would be another picture where they differ.

    Args:
        path: The file.
        state: ``unet.<module>.lora_A.weight`` and ``lora_B.weight``.
        options: ``{"rank", "alpha", "targets"}``.
    """
    facts = {"r": options["rank"], "lora_alpha": options["alpha"]}
    facts["target_modules"] = list(options["targets"])
    named = {f"{PIPELINE_PREFIX}{key}": value for key, value in facts.items()}
    metadata = {"format": "pt", _METADATA: json.dumps(named, sort_keys=True)}
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    save_file(tensors, path, metadata)


def read_lora(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a LoRA file in pipeline form.

    Returns:
        The tensors and ``{"rank", "alpha", "targets"}``: the rank by the tensors, alpha by the
        metadata, 16 (R) where there is none, targets as the full names of the layers.

    Raises:
        UserError: The file is missing or broken, is in another form, or has several ranks.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or no safetensors file: {error}.") from error
    ranks, targets = set(), set()
    for name, value in state.items():
        end = next((each for each in _ENDS if name.endswith(each)), None)
        if end is None or not name.startswith(PIPELINE_PREFIX):
            raise UserError(
                f"{path} holds {name!r}: a LoRA in pipeline form has unet.MODULE.lora_A.weight and "
                "lora_B.weight alone."
            )
        twin = name.removesuffix(end) + _ENDS[1 - _ENDS.index(end)]
        if twin not in state:
            raise UserError(f"{path} lacks {twin!r}: the file is incomplete.")
        ranks.add(int(value.shape[0 if end == _ENDS[0] else 1]))
        targets.add(name.removeprefix(PIPELINE_PREFIX).removesuffix(end))
    if len(ranks) != 1:
        raise UserError(f"{path} holds no LoRA of one rank: it is another file.")
    return state, {"rank": ranks.pop(), "alpha": _alpha(metadata), "targets": sorted(targets)}


def _alpha(metadata: dict[str, str]) -> float:
    try:
        facts = json.loads(metadata.get(_METADATA, "{}"))
        return float(facts.get(f"{PIPELINE_PREFIX}lora_alpha", RELEASED_ALPHA))
    except (ValueError, TypeError, AttributeError):
        return RELEASED_ALPHA


def with_alpha(state: dict[str, Tensor], alpha: float, wanted: float) -> dict[str, Tensor]:
    """Returns the same LoRA for another alpha: B takes up the ratio."""
    ratio = alpha / wanted
    return {k: v * ratio if k.endswith(_ENDS[1]) and ratio != 1 else v for k, v in state.items()}
