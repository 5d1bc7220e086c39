"""Numbers and words of a scale that make no sense: told before anything is imported or trained."""

import math
from typing import Any

from omegaconf import OmegaConf

from experiments.cli.suggest import unknown
from osdface.errors import UserError

_SECTIONS = ("stage1", "stage2", "osediff", "pretrain", "no_association")
_MANY = math.inf
# Key of these sections -> least and largest value.
_LIMITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            "batch_size", "val_batch_size", "vae_batch_size", "identity_batch_size", "accumulate",
            "steps", "hq_steps", "lq_steps", "vae_steps", "base_steps", "identity_steps",
            "perceptual_steps", "val_every", "log_every", "checkpoint_every", "max_skipped",
            "lora_rank", "prompt_heads", "discriminator_head", "discriminator_filters",
            "discriminator_layers", "samples", "restart_idle",
        ),
        (1, _MANY),
    ),
    **dict.fromkeys(
        (
            "learning_rate", "discriminator_learning_rate", "regulariser_learning_rate",
            "vae_learning_rate", "base_learning_rate", "identity_learning_rate",
            "perceptual_learning_rate", "warmup_steps", "association_steps", "clip", "weight_decay",
            "log_gradients_every", "restart_every",
        ),
        (0, _MANY),
    ),
    "timestep": (0, 999),
    "restart_until": (0, 1),
    "caption_dropout": (0, 1),
    "ema_decay": (0, 0.999999),
}  # fmt: skip
_WORDS = {
    "schedule": ("constant", "cosine"),
    "best_mode": ("min", "max"),
    "discriminator_norm": ("group", "batch"),
}
LARGEST_SEED = 2**32 - 1


def check_numbers(cfg: Any) -> None:
    """Raises a :class:`UserError` for a number out of its range, or a word that nothing knows."""
    _check_resolution(cfg.scale)
    for section in _SECTIONS:
        own = cfg.scale[section]
        for name in own:
            _check(f"scale.{section}.{name}", name, OmegaConf.select(own, name))
    for key, seeds in (("seed", [cfg.seed]), ("seeds", cfg.seeds or [])):
        for seed in seeds:
            _within(key, seed, 0, LARGEST_SEED)


def _check_resolution(scale: Any) -> None:
    factor = 2 ** (len(scale.vre.channels) - 1)  # every level of the VRE but the last halves
    size = scale.resolution
    if not isinstance(size, int) or size < factor or size % factor:
        raise UserError(f"scale.resolution={size} is wrong: the VRE needs a multiple of {factor}.")


def _check(key: str, name: str, value: Any) -> None:
    if name in _WORDS and value not in _WORDS[name]:
        raise unknown(key, str(value), _WORDS[name])
    if name in _LIMITS:
        _within(key, value, *_LIMITS[name])


def _within(key: str, value: Any, least: float, most: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most or math.isinf(value):
        limits = f"at least {least:g}" if most == _MANY else f"from {least:g} to {most:.10g}"
        raise UserError(f"{key}={value} is wrong: {limits}.")
