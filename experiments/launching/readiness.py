"""What a run needs and what is there already, looked at before anything is submitted."""

from omegaconf import DictConfig

from experiments.pipelines.build import base_folder, fingerprint_of_base
from experiments.pipelines.initial import started_from
from experiments.pipelines.needed import check_weights
from experiments.pipelines.prompts import stages1
from experiments.pipelines.stage1_cache import cached_vre, data_at_hand
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
    """Whether stage 2 can begin at once: every stage 1 is given, or trained and in the cache.

    It looks only and makes nothing. Where the data cannot be looked at from here, it is not.
    """
    wanted = [own for own in stages1(started_from(cfg)) if own.vre.checkpoint is None]
    if not wanted:
        return True
    if not data_at_hand(cfg):
        return False
    base = fingerprint_of_base(cfg)
    return all(cached_vre(own, base) is not None for own in wanted)
