"""A stage-2 checkpoint of a run, read without the trainer: what it holds and what lies beside it.

It holds the trained tensors alone and the configuration they were trained with; base and VRE are
frozen and found elsewhere.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from osdface.checkpoints.export import PROMPT_FILE, load_tensors, load_vre
from osdface.errors import UserError
from osdface.networks.adaptation import VAE_PREFIX
from osdface.networks.base import state_fingerprint
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.networks.lora import DEFAULT_TARGETS, PIPELINE_PREFIX
from osdface.networks.prompts import TEXT_KINDS, VISUAL_KINDS, build_prompt_source, own_state
from osdface.paths import find_weight
from osdface.pickles import load_pickle

_UNET, _VAE, _SOURCE = "generator.unet.", "generator.codec.vae.", "generator.prompt_source."


def _trained(state: dict[str, Any]) -> dict[str, Tensor]:
    """The trained tensors, with the averaged ones where the run kept averages."""
    tensors = dict(state["state_dict"])
    for kept in state.get("callbacks", {}).values():
        if isinstance(kept, dict) and isinstance(kept.get("shadow"), dict):
            tensors |= kept["shadow"]
    return tensors


def _embedder(
    path: Path, config: dict[str, Any], fingerprint: str | None, vre: str | Path | None
) -> VisualRepresentationEmbedder:
    beside = path.parent.parent / "export"
    named = config["vre"].get("checkpoint")
    if vre is not None:
        source = find_weight(str(vre))
    elif beside.is_dir():
        source = beside
    elif named is not None:
        source = find_weight(str(named))
    else:
        raise UserError(
            f"{path} has no export of its run beside it, which holds the VRE: give vre=FOLDER, the "
            "export of stage 1 that it was trained with."
        )
    embedder = load_vre(source)
    found = state_fingerprint(embedder.state_dict())
    if fingerprint not in (None, found):
        raise UserError(
            f"{path} was trained with another VRE ({fingerprint}) than {source} ({found}): give "
            "vre=FOLDER of that one."
        )
    return embedder


def _prompt_dim(path: Path, tensors: dict[str, Tensor]) -> int:
    """Width of the cross-attention, by any tensor that has it."""
    ends = {"attn2.to_k.lora_A.default.weight": 1, "convs.conv2.bias": 0, "prompt_source.prompt": 1}
    for key, value in tensors.items():
        for end, dimension in ends.items():
            if key.endswith(end):
                return value.shape[dimension]
    raise UserError(f"{path} holds no tensor of the prompt's width.")


def _prompt_source(
    path: Path, state: dict[str, Any], tensors: dict[str, Tensor], vre: str | Path | None
) -> nn.Module:
    config = state["config"]
    kind, scale = config["vre"].get("kind", "distinct"), config["scale"]
    own = {k.removeprefix(_SOURCE): v for k, v in tensors.items() if k.startswith(_SOURCE)}
    facts: dict[str, Any] = {}
    if kind in VISUAL_KINDS:
        fingerprint = state.get("fingerprints", {}).get("vre")
        facts["embedder"] = _embedder(path, config, fingerprint, vre)
    elif kind in TEXT_KINDS:
        # Frozen, so not in the checkpoint: the run's export has it.
        file = path.parent.parent / "export" / PROMPT_FILE
        if not file.is_file():
            raise UserError(
                f"{path} has no export of its run beside it, which holds its prompt: finish the "
                "run, which goes on when its command is repeated."
            )
        facts["text"] = load_tensors(file)["prompt"]
        own = {"prompt": facts["text"]}
    source = build_prompt_source(
        kind,
        _prompt_dim(path, tensors),
        hidden_dim=scale["vre"]["prompt_hidden_dim"],
        heads=scale["stage2"].get("prompt_heads", 8),
        **facts,
    )
    wanted = {} if kind == "none" else own_state(source)
    for key in sorted(wanted.keys() | own.keys()):
        if key not in wanted or key not in own or wanted[key].shape != own[key].shape:
            raise UserError(f"{path}: tensor {key!r} of the prompt is missing or does not fit.")
    source.load_state_dict(own, strict=False)
    return source.eval()


def _of_network(
    tensors: dict[str, Tensor], prefix: str, named: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """LoRA tensors in pipeline form and the others of a network, its prefix now ``named``."""
    own = {
        named + key.removeprefix(prefix).replace(".default.", "."): value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    lora = {key: value for key, value in own.items() if ".lora_" in key}
    return lora, {key: value for key, value in own.items() if key not in lora}


def read_run_checkpoint(path: Path, vre: str | Path | None = None) -> dict[str, Any]:
    """Reads a ``.ckpt`` of stage 2.

    Args:
        path: The file; ``../export`` from it is the run's export, where the run is finished.
        vre: Export folder with the VRE, where that is not there.

    Returns:
        The fields of :class:`osdface.checkpoints.opening.TrainedParts`.

    Raises:
        UserError: It is no checkpoint of stage 2, or a part that it needs is missing or another.
    """
    state = load_pickle(path)
    if not isinstance(state, dict) or not {"state_dict", "generator_step", "config"} <= set(state):
        raise UserError(f"{path} is no checkpoint of this framework.")
    tensors = _trained(state)
    lora, layers = _of_network(tensors, _UNET, PIPELINE_PREFIX)
    lora_vae, _ = _of_network(tensors, _VAE, VAE_PREFIX)
    if not lora:
        raise UserError(
            f"{path} holds no LoRA: it is a checkpoint of another experiment than osdface."
        )
    config, chosen = state["config"], state["config"]["scale"]["stage2"]
    sizes = {"rank": chosen["lora_rank"], "alpha": chosen["lora_alpha"]}
    of_vae = sorted({key.removeprefix(VAE_PREFIX).partition(".lora_")[0] for key in lora_vae})
    return {
        "lora_vae": lora_vae,
        "lora_vae_options": {**sizes, "targets": of_vae} if lora_vae else {},
        "layers": layers,
        "prompt_source": _prompt_source(path, state, tensors, vre),
        "lora": lora,
        "lora_options": {**sizes, "targets": chosen["lora_targets"] or list(DEFAULT_TARGETS)},
        "timestep": int(chosen["timestep"]),
        "base": config["base"]["path"],
        "fingerprint": state.get("fingerprints", {}).get("base", ""),
        "resolution": int(config["scale"]["resolution"]),
    }
