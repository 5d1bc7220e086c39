"""What a run of a comparison may spend: training images, or seconds of training."""

import math

from omegaconf import DictConfig

from experiments.pipelines.build import device_count

IMAGES, SECONDS = "images", "seconds"


def images_per_step(cfg: DictConfig) -> int:
    """Returns how many training images a generator step of stage 2 sees on all processes."""
    chosen, processes = cfg.scale.stage2, device_count(cfg) * int(cfg.trainer.num_nodes)
    return int(chosen.batch_size) * int(chosen.accumulate) * processes


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
