"""What a run of a comparison may spend: training images, or seconds of training."""

import math

import torch
from omegaconf import DictConfig

IMAGES, SECONDS = "images", "seconds"


def images_per_step(cfg: DictConfig) -> int:
    """Returns how many training images a generator step of stage 2 sees on all processes."""
    chosen, trainer = cfg.scale.stage2, cfg.trainer
    devices = int(trainer.devices)
    if devices < 0:
        devices = max(1, torch.cuda.device_count())
    return int(chosen.batch_size) * int(chosen.accumulate) * devices * int(trainer.num_nodes)


def budgeted(cfg: DictConfig) -> DictConfig:
    """Returns the configuration whose steps and validations are those of ``budget``.

    The number of steps that the images give is rounded up. A run by seconds is validated at the
    same steps; how many it has, the clock says. Without ``budget`` nothing changes.
    """
    if cfg.budget is None:
        return cfg
    own, allowed = cfg.copy(), cfg.scale.compare
    steps = math.ceil(int(allowed.images) / images_per_step(cfg))
    own.scale.stage2.steps = steps
    own.scale.stage2.val_every = max(1, steps // int(allowed.validations))
    return own


def seconds_allowed(cfg: DictConfig) -> float:
    """Returns the seconds of training after which a run stops; 0 where steps are counted."""
    return float(cfg.scale.compare.seconds) if cfg.budget == SECONDS else 0.0
