"""Which weight files stage 2 will need: looked for before anything is drawn or trained."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.cli.compose import variants_of
from experiments.cli.groups import CONF
from experiments.cli.variants import LOSS_GROUP, generated, group_of
from experiments.pipelines.build import loss_weights
from experiments.pipelines.methods import compares_methods, method_configs
from osdface.networks.identity import find_identity
from osdface.networks.perceptual import find_trunk


def active_terms(cfg: DictConfig) -> set[str]:
    """Returns the loss terms that the run uses; of an ablation those of all its variants."""
    if compares_methods(cfg):
        return {term for own in method_configs(cfg) for term in loss_weights(own)}
    if cfg.task != "ablation" or group_of(cfg.experiment) != LOSS_GROUP:
        return set(loss_weights(cfg))
    combinations = generated()
    terms: set[str] = set()
    for name in variants_of(cfg.variants):
        losses: Any = combinations.get(name, {}).get("losses")
        if losses is None:
            losses = OmegaConf.load(CONF / LOSS_GROUP / f"{name}.yaml").losses
        terms |= {term for term, factor in losses.items() if factor}
    return terms


def check_weights(cfg: DictConfig) -> None:
    """Looks for the files of all losses and figures; loads nothing.

    Raises:
        UserError: One is missing; the sentence says how to get it.
    """
    chosen, terms = cfg.scale.stage2, active_terms(cfg)
    if any("dists" in term or "lpips" in term for term in terms):
        find_trunk(chosen.perceptual_loss, cfg.weights_dir)
    if "identity" in terms:
        find_identity(chosen.identity_loss, cfg.weights_dir)
    find_trunk(chosen.perceptual_metric, cfg.weights_dir)
    find_identity(chosen.identity_metric, cfg.weights_dir)
