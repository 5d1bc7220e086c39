"""What a run needs and what is there already, looked at before anything is submitted."""

from omegaconf import DictConfig

from experiments.pipelines.build import base_folder
from experiments.pipelines.initial import started_from
from experiments.pipelines.needed import check_weights
from experiments.pipelines.prompts import vres_ready
from osdface.paths import find_weight

STAGE2 = ("osdface", "ablation")


def check_needed(cfg: DictConfig) -> None:
    """Looks for the files that stage 2 starts from; loads nothing.

    Raises:
        UserError: One is missing.
    """
    if cfg.task not in STAGE2 or cfg.mode != "fit":
        return
    if not cfg.base.random:
        base_folder(cfg)
    check_weights(started_from(cfg))
    for name in ("checkpoint", "unassociated"):
        if cfg.vre[name] is not None:
            find_weight(str(cfg.vre[name]), cfg.weights_dir)


def stage1_ready(cfg: DictConfig) -> bool:
    """Whether stage 2 can begin at once: stage 1 is given, or trained and in the cache."""
    return vres_ready(started_from(cfg))
