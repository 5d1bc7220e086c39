"""The methods of a comparison: what each one's own configuration says."""

from omegaconf import DictConfig

from experiments.cli.compose import compose_words, variants_of
from experiments.cli.variants import METHOD_GROUP, group_of

# What of a method decides which files its training needs, and what it is before its first step.
_SECTIONS = ("losses", "method")
_GENERATOR = ("timestep", "lora_vae_targets", "trained_layers")


def compares_methods(cfg: DictConfig) -> bool:
    """Returns whether the run trains several methods, each by a file of ``conf/method``."""
    return bool(cfg.task == "ablation" and group_of(cfg.experiment) == METHOD_GROUP)


def method_configs(cfg: DictConfig) -> list[DictConfig]:
    """Returns, of a comparison, a single run's configuration of each method; else itself.

    It has the method's losses, kind of prompt, t and layers, by which files and VREs are needed;
    sizes of the training are those of the run at hand.
    """
    if not compares_methods(cfg):
        return [cfg]
    found = []
    for name in variants_of(cfg.variants, METHOD_GROUP):
        words = {"experiment": str(cfg.experiment), "scale": str(cfg.scale.name), "method": name}
        chosen, own = compose_words(words)[0], cfg.copy()
        weights = own.losses.weights
        for section in _SECTIONS:
            own[section] = chosen[section]
        own.losses.weights = weights
        own.vre.kind = chosen.vre.kind
        for name in _GENERATOR:
            own.scale.stage2[name] = chosen.scale.stage2[name]
        own.task = "osdface"
        found.append(own)
    return found
