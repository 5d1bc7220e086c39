"""``init_from=`` of stage 2: what the trained weights there decide about the run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.pipelines.build import plain
from experiments.pipelines.prompts import prompt_of_export
from osdface.checkpoints.export import read_config
from osdface.checkpoints.initial import is_export, lora_options, vre_source
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


def started_from(cfg: DictConfig) -> DictConfig:
    """Returns the configuration with VRE and LoRA layers of ``init_from``.

    Raises:
        UserError: Another key contradicts what the weights there were trained with.
    """
    folder = initial_folder(cfg)
    if folder is None:
        return cfg
    facts: dict[str, Any] = {"timestep": 399, "prompt": {}}
    prompt: dict[str, Any] = {"kind": "distinct", "dictionary": "lq"}
    if is_export(folder):
        facts, prompt = read_config(folder, "osdface"), prompt_of_export(folder)
    for key in ("kind", "dictionary"):
        if cfg.vre[key] != prompt[key]:
            raise UserError(
                f"init_from={folder} was trained with vre.{key}={prompt[key]}, the run at hand has "
                f"{cfg.vre[key]}: set vre.{key}={prompt[key]}."
            )
    source = str(vre_source(folder))
    if cfg.vre.random or cfg.vre.checkpoint not in (None, source):
        raise UserError(
            f"init_from={folder} brings the VRE it was trained with: leave vre.checkpoint= and "
            "vre.random= out."
        )
    lora = lora_options(folder)
    wanted = {"lora_rank": lora["rank"], "lora_alpha": lora["alpha"]}
    wanted |= {"timestep": facts["timestep"]}
    for name, value in wanted.items():
        if cfg.scale.stage2[name] != value:
            raise UserError(
                f"init_from={folder} was trained with {name} {value:g}, the run at hand has "
                f"{cfg.scale.stage2[name]}: set scale.stage2.{name}={value:g}."
            )
    targets = list(lora["targets"])
    if cfg.scale.stage2.lora_targets is not None and (
        set(plain(cfg.scale.stage2.lora_targets)) != set(targets)
    ):
        raise UserError(
            f"init_from={folder} decides which layers have LoRA: leave scale.stage2.lora_targets= "
            "out."
        )
    changes: dict[str, Any] = {
        "vre": {"checkpoint": source},
        "scale": {"stage2": {"lora_targets": targets}},
    }
    if "text_prompt" in prompt:
        changes["vre"]["text_prompt"] = prompt["text_prompt"]
    merged = OmegaConf.merge(cfg, changes)
    assert isinstance(merged, DictConfig)
    return merged
