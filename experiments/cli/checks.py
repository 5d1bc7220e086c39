"""Checks of a composed configuration: what types alone do not tell."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from experiments.cli.compose import jobs_of
from experiments.cli.groups import options
from experiments.cli.numbers import check_numbers
from experiments.cli.suggest import unknown
from experiments.cli.tasks import TASKS
from experiments.cli.variants import BUDGETS, METHOD_GROUP, VRE_GROUP, group_of
from osdface.errors import UserError

# Those of osdface.networks.prompts, which would import torch.
PROMPT_KINDS = (
    "distinct",
    "duplicates",
    "attention_pooling",
    "position_code",
    "learned_prompt",
    "text_prompt",
    "captions",
    "none",
)
# Those of osdface.networks.discriminators and osdface.networks.efficiency, for the same reason.
DISCRIMINATORS = ("unet", "unet_prompt", "unet_noise_level", "unet_unconditioned", "patch")
COMPILED_PARTS = ("unet", "vae", "discriminator", "regulariser", "losses")
PRECISIONS = ("32-true", "bf16-mixed")
_CHOICES = {
    "data.target": ("original", "retouched", "mix"),
    "mode": ("fit", "validate", "test"),
    "domain": ("both", "hq", "lq"),
    "vre.kind": PROMPT_KINDS,
    "vre.dictionary": ("lq", "hq"),
    "scale.stage2.discriminator": DISCRIMINATORS,
    "scale.stage2.gan_kind": ("non_saturating", "hinge"),
    "scale.stage2.efficiency.attention": ("sdpa", "plain"),
    "scale.stage2.efficiency.frozen_dtype": ("auto", "float32", "bfloat16", "float16"),
    "part": ("all", "prepare", "variant", "gather"),
    "logger.mode": ("auto", "online", "offline", "disabled"),
    "trainer.accelerator": ("cpu", "gpu", "auto"),
}
# Keys that name something on disk, which is worth checking before anything is imported.
_ON_DISK = ("data.root", "checkpoint", "weights_dir", "vre.captions")
_ABLATION_ONLY = ("variants", "seeds", "budgets", "budget", "part")
# What the methods of compare_one_step set, beside their losses.
_METHOD = (
    "vre.kind",
    "data.degradation.preset",
    *(
        f"scale.stage2.{name}"
        for name in ("timestep", "lora_rank", "lora_alpha", "lora_vae_targets", "trained_layers")
    ),
)
# What the budgets of compare_one_step set, and what says it there.
_BUDGETED = {
    "scale.stage2.steps": "scale.compare.images= and scale.compare.seconds= say how long every "
    "method trains",
    "scale.stage2.val_every": "scale.compare.validations= says how often every method is validated",
}
# What the variants of ablation_vre set.
_VRE_VARIANT = ("vre.kind", "vre.dictionary", "vre.association")


def check(cfg: Any, words: Mapping[str, str]) -> None:
    """Raises a :class:`UserError` if the run makes no sense."""
    if not cfg.task:
        raise UserError(f"Choose an experiment: experiment={' | '.join(options('experiment'))}.")
    assert cfg.task in TASKS or cfg.task == "ablation", cfg.task
    for key, choices in _CHOICES.items():
        value = OmegaConf.select(cfg, key)
        if key == "data.target" and cfg.data.kind != "shards":
            continue  # the others have no such key
        if value not in choices:
            raise unknown(key, str(value), choices)
    for part in cfg.scale.stage2.efficiency.compile:
        if part not in COMPILED_PARTS:
            raise unknown("part to compile", str(part), COMPILED_PARTS)
    check_numbers(cfg)
    _check_distillation(list(cfg.vsd.timesteps))
    if cfg.data.kind == "folder" and OmegaConf.is_missing(cfg.data, "root"):
        raise UserError("data=folder needs data.root=DIR.")
    if cfg.data.kind == "shards" and not (cfg.data.urls or cfg.data.root):
        raise UserError(
            "data=shards needs data.urls='DIR/{0..9}.tar', or data.root=DIR with a manifest.json."
        )
    for key in _ON_DISK:
        if (value := OmegaConf.select(cfg, key)) and "://" not in value:
            check_path(key, value)
    if cfg.task == "ablation" and cfg.mode != "fit":
        raise UserError(f"mode={cfg.mode} needs a single experiment, such as experiment=osdface.")
    if cfg.mode != "fit" and f"{cfg.task}.evaluate" not in TASKS:
        able = [task.removesuffix(".evaluate") for task in TASKS if task.endswith(".evaluate")]
        raise UserError(
            f"experiment={cfg.experiment} has no mode={cfg.mode}; these have: {', '.join(able)}."
        )
    if cfg.domain != "both" and cfg.task != "vq_dictionary":
        raise UserError(f"domain={cfg.domain} is there for experiment=vq_dictionary only.")
    if cfg.mode != "fit" and not cfg.checkpoint:
        raise UserError(f"mode={cfg.mode} needs checkpoint=FILE or an export folder.")
    if cfg.trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={cfg.trainer.precision} is not supported: take "
            f"{' or '.join(PRECISIONS)}."
        )
    if cfg.vre.random and cfg.vre.checkpoint is not None:
        raise UserError("vre.random=true and vre.checkpoint= name two VREs: give one of them.")
    if cfg.trainer.devices == 0 or cfg.trainer.devices < -1 or cfg.trainer.num_nodes < 1:
        raise UserError("trainer.devices is a number of devices or -1 (all), num_nodes at least 1.")
    if cfg.trainer.timeout_seconds <= 0:
        raise UserError(
            f"trainer.timeout_seconds is {cfg.trainer.timeout_seconds}: give a number above 0."
        )
    _check_ablation(cfg, words) if cfg.task == "ablation" else _check_single(cfg, words)


def _check_distillation(timesteps: list[Any]) -> None:
    whole = len(timesteps) == 2 and all(isinstance(each, int) for each in timesteps)
    if not whole or not 0 <= timesteps[0] < timesteps[1] <= 1000:
        raise UserError(
            f"vsd.timesteps={timesteps} is wrong: the first t and one more than the last, as in "
            "[20,980], within [0,1000]."
        )


def check_path(key: str, value: str) -> None:
    """Raises a :class:`UserError` with the nearest names beside it if a path does not exist."""
    path = Path(value)
    if path.exists():
        return
    missing = path.absolute()
    while not missing.parent.exists():
        missing = missing.parent
    beside = [each.name for each in missing.parent.iterdir()] if missing.parent.is_dir() else []
    near = get_close_matches(missing.name, beside, 3, 0.6)
    hint = f"; {missing.parent} holds {' and '.join(near)}" if near else ""
    raise UserError(f"{key}={value}: there is no {missing}{hint}.")


def _check_single(cfg: Any, words: Mapping[str, str]) -> None:
    for key in _ABLATION_ONLY:
        if key in words and not (key == "part" and _prepares(cfg)):
            instead = {"variants": "variant=NAME", "seeds": "seed=N"}.get(key, "no such key")
            owners = "compare_one_step" if "budget" in key else "ablation_losses or ablation_vre"
            raise UserError(
                f"{key}= belongs to experiment={owners}; "
                f"experiment={cfg.experiment} takes {instead}."
            )


def _prepares(cfg: Any) -> bool:
    """Whether it is the job before stage 2, which trains stage 1 alone."""
    return bool(cfg.part == "all" or (cfg.part == "prepare" and cfg.task == "osdface"))


def _check_methods(cfg: Any, words: Mapping[str, str]) -> None:
    """What a comparison of methods refuses, beside what every ablation does."""
    if not cfg.budgets:
        raise UserError(f"budgets= is empty: give {', '.join(BUDGETS)}, or both.")
    for budget in cfg.budgets:
        if budget not in BUDGETS:
            raise unknown("budget", str(budget), BUDGETS)
    if cfg.scale.compare.images < 1 or cfg.scale.compare.seconds <= 0:
        raise UserError("scale.compare.images and scale.compare.seconds must be above 0.")
    if cfg.scale.compare.validations < 1:
        raise UserError("scale.compare.validations must be 1 at least.")
    if cfg.part != "variant" and (key := next((k for k in ("method", "budget") if k in words), "")):
        instead = {"method": "variants", "budget": "budgets"}[key]
        raise UserError(f"A comparison takes a list: {instead}={words[key]}.")
    for key in words:
        if key in _BUDGETED:
            raise UserError(f"{key}= has no meaning here: {_BUDGETED[key]}.")
        if key in _METHOD:
            raise UserError(f"{key}= would change every method alike: choose variants=.")


def _check_ablation(cfg: Any, words: Mapping[str, str]) -> None:
    group = group_of(cfg.experiment)
    if group == METHOD_GROUP:
        _check_methods(cfg, words)
    elif key := next((each for each in ("budget", "budgets") if each in words), ""):
        raise UserError(f"{key}= belongs to experiment=compare_one_step.")
    jobs_of(cfg)
    if "vre_variant" in words:
        raise UserError(f"An ablation takes a list: variants={words['vre_variant']}.")
    of_vre = group == VRE_GROUP
    for key in words:
        # The words of the command line come after the variant and would undo it in every job.
        section, _, term = key.partition(".")
        if of_vre and key in _VRE_VARIANT:
            raise UserError(f"{key}= would change every variant of an ablation: choose variants=.")
        if of_vre and section == "losses" and not term.startswith("weights"):
            raise UserError(
                "ablation_vre trains every variant with the losses of full: losses.weights.TERM= "
                f"changes their strength, {key}= nothing."
            )
        if section == "losses" and group == METHOD_GROUP:
            raise UserError(f"{key}= would change every method alike: choose variants=.")
        if section == "losses" and not term.startswith("weights"):
            raise UserError(
                f"{key}= would change every variant of an ablation: choose the terms by variants= "
                f"and their strength by losses.weights.{term or 'TERM'}=."
            )
    if cfg.part == "variant":
        if "variant" not in words:
            raise UserError("part=variant needs variant=NAME and output_dir= of a prepared run.")
    elif "variant" in words:
        raise UserError(f"An ablation takes a list: variants={words['variant']}.")
    elif "seed" in words and "seeds" in words:
        raise UserError("Give either seed= or seeds=, not both.")
