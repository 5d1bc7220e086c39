"""``init_from=`` of stage 2: what the trained weights there decide about the run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.pipelines.build import plain
from experiments.pipelines.prompts import prompt_of_export
from osdface.checkpoints.export import read_config
from osdface.checkpoints.initial import adaptation_keys, is_export, vre_source
from osdface.errors import UserError
from osdface.paths import find_weight


def initial_folder(cfg: DictConfig) -> Path | None:
    """Returns the folder that ``init_from`` names; None where training starts afresh.

    Raises:
        UserError: It is not there.
    """
    if cfg.init_from is None:
        return None
    try:
        return find_weight(str(cfg.init_from), cfg.weights_dir)
    except UserError:
        raise UserError(
            f"init_from={cfg.init_from} is not there: name an export folder or a folder with the "
            "three released files."
        ) from None


def trained_keys(folder: Path) -> dict[str, Any]:
    """Returns the keys with which the generator of an export or of released files is built.

    Raises:
        UserError: The folder is neither.
    """
    timestep, source = 399, str(vre_source(folder))
    vre: dict[str, Any] = {"kind": "distinct", "dictionary": "lq", "checkpoint": source}
    if is_export(folder):
        timestep, vre = read_config(folder, "osdface")["timestep"], prompt_of_export(folder)
    return {"vre": vre, "scale": {"stage2": adaptation_keys(folder) | {"timestep": timestep}}}


def started_from(cfg: DictConfig) -> DictConfig:
    """Returns the configuration with VRE and LoRA layers of ``init_from``.

    Raises:
        UserError: Another key contradicts what the weights there were trained with.
    """
    folder = initial_folder(cfg)
    if folder is None:
        return cfg
    keys = trained_keys(folder)
    vre, stage2 = keys["vre"], keys["scale"]["stage2"]
    wanted = {f"vre.{name}": vre[name] for name in ("kind", "dictionary")}
    for name in ("lora_rank", "lora_alpha", "timestep"):
        wanted[f"scale.stage2.{name}"] = stage2[name]
    for key, value in wanted.items():
        if (found := OmegaConf.select(cfg, key)) != value:
            shown = f"{value:g}" if isinstance(value, float) else value
            raise UserError(
                f"init_from={folder} was trained with {key}={shown}, the run at hand has {found}: "
                f"set {key}={shown}."
            )
    for name, further, nothing in (
        ("lora_vae_targets", "all", "null"),
        ("trained_layers", "[unet.conv_in]", "[]"),
    ):
        own, found = bool(stage2[name]), bool(plain(cfg.scale.stage2[name]))
        if own != found:
            raise UserError(
                f"init_from={folder} was trained {'with' if own else 'without'} "
                f"scale.stage2.{name}=, the run at hand {'with' if found else 'without'}: take the "
                f"method= it was trained with, or set scale.stage2.{name}="
                f"{further if own else nothing}."
            )
    if cfg.vre.random or cfg.vre.checkpoint not in (None, vre["checkpoint"]):
        raise UserError(
            f"init_from={folder} brings the VRE it was trained with: leave vre.checkpoint= and "
            "vre.random= out."
        )
    targets = plain(cfg.scale.stage2.lora_targets)
    if targets is not None and set(targets) != set(stage2["lora_targets"]):
        raise UserError(
            f"init_from={folder} decides which layers have LoRA: leave scale.stage2.lora_targets= "
            "out."
        )
    merged = OmegaConf.merge(cfg, keys)
    assert isinstance(merged, DictConfig)
    return merged
